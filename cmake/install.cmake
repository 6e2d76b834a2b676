# The library for embedders: the pool, and the server that whoever has clients may put in front of it. Without the file
# that replaces malloc, which is the executable's affair.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(PLAIT_LIBRARY_LAYERS ${PLAIT_EMBEDDABLE_LAYERS} server)
set(objects "")
foreach(layer IN LISTS PLAIT_LIBRARY_LAYERS)
  list(APPEND objects "$<FILTER:$<TARGET_OBJECTS:plait_${layer}>,EXCLUDE,alloc_guard_malloc>")
endforeach()
add_library(plait STATIC ${objects})
add_library(plait::plait ALIAS plait)
set_target_properties(plait PROPERTIES LINKER_LANGUAGE CXX ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
target_compile_features(plait INTERFACE cxx_std_23)
target_include_directories(plait INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
  $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(plait INTERFACE OpenSSL::SSL OpenSSL::Crypto PkgConfig::LIBURING PkgConfig::CARES Threads::Threads)
if(PLAIT_SANITIZE)
  target_compile_options(plait INTERFACE -fsanitize=${PLAIT_SANITIZE} -fno-sanitize=vptr)
  target_link_options(plait INTERFACE -fsanitize=${PLAIT_SANITIZE} -fno-sanitize=vptr)
endif()

install(TARGETS plait EXPORT plaitTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(CODE "set(source_dir \"${PROJECT_SOURCE_DIR}\")
set(binary_dir \"${PROJECT_BINARY_DIR}\")
set(include_dir \"${CMAKE_INSTALL_INCLUDEDIR}\")" COMPONENT library)
install(SCRIPT cmake/install_headers.cmake COMPONENT library)
install(EXPORT plaitTargets NAMESPACE plait:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/plait COMPONENT library)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/plaitConfig.cmake.in ${PROJECT_BINARY_DIR}/plaitConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/plait)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/plaitConfigVersion.cmake VERSION ${plait_VERSION}
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/plaitConfig.cmake ${PROJECT_BINARY_DIR}/plaitConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/plait COMPONENT library)
if(TARGET plait_bin)
  install(TARGETS plait_bin RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
endif()
