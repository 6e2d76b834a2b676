# Installs into a prefix of its own, builds a project that knows nothing but that prefix, and runs it. With g++ that project
# is refused.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE ${WORK_DIR})
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed: ${ARGN}\n${output}")
  endif()
endfunction()
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --component library --prefix ${WORK_DIR}/prefix)
run(${CMAKE_COMMAND} -S ${SOURCE_DIR}/tests/consumer -B ${WORK_DIR}/build -G Ninja -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/consumer)

# -- what is installed
file(GLOB names RELATIVE ${WORK_DIR}/prefix/include/plait ${WORK_DIR}/prefix/include/plait/*)
if(NOT names STREQUAL "detail;plait.h")
  message(FATAL_ERROR "plait.h is not the only header that is there to be named: ${names}")
endif()
file(GLOB_RECURSE names RELATIVE ${WORK_DIR}/prefix ${WORK_DIR}/prefix/include/*)
if(NOT "include/plait/detail/client/pool.h" IN_LIST names)
  message(FATAL_ERROR "what plait.h includes is missing: ${names}")
endif()
foreach(internal _test\\.h route/ plan/ cluster/ proxy/ control/)
  if(names MATCHES ${internal})
    message(FATAL_ERROR "${internal} is nothing for an embedder: ${names}")
  endif()
endforeach()

# -- another compiler
find_program(GXX NAMES g++ REQUIRED)
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE_DIR}/tests/consumer -B ${WORK_DIR}/gxx -G Ninja -DCMAKE_CXX_COMPILER=${GXX}
  -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix RESULT_VARIABLE result ERROR_VARIABLE refusal OUTPUT_QUIET)
string(REGEX REPLACE "[ \n]+" " " refusal "${refusal}")
if(result EQUAL 0 OR NOT refusal MATCHES "plait needs clang 19 or newer, not GNU [0-9.]+: g\\+\\+ 12 miscompiles coroutines")
  message(FATAL_ERROR "g++ is not refused by the package: ${refusal}")
endif()
# Nor by those who do without the package.
execute_process(COMMAND ${GXX} -std=c++23 -fsyntax-only -I ${WORK_DIR}/prefix/include ${SOURCE_DIR}/tests/consumer/consumer.cc
  "-DPACKAGE_VERSION=\"\"" RESULT_VARIABLE result ERROR_VARIABLE refusal)
if(result EQUAL 0 OR NOT refusal MATCHES "#error \"plait needs clang 19 or newer")
  message(FATAL_ERROR "g++ is not refused by plait.h: ${refusal}")
endif()
