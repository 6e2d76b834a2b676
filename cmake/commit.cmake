# Writes OUTPUT, a header with the commit of SOURCE_DIR: the one that COMMIT names, else the checkout's, "-dirty" behind it
# where files differ. It is empty where SOURCE_DIR is no checkout of its own. Run at each build; a header that says the same
# already is left alone.
cmake_minimum_required(VERSION 3.25)
function(git variable)
  execute_process(COMMAND git --no-optional-locks -C ${SOURCE_DIR} ${ARGN} OUTPUT_VARIABLE text RESULT_VARIABLE failed
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(failed)
    set(text "")
  endif()
  set(${variable} "${text}" PARENT_SCOPE)
endfunction()
if(NOT COMMIT)
  git(root rev-parse --show-toplevel)
  file(REAL_PATH ${SOURCE_DIR} source)
  # A tree that lies in another project's repository has that project's commits.
  if(root STREQUAL source)
    git(COMMIT rev-parse --short=12 HEAD)
    git(changes status --porcelain --untracked-files=no)
    if(changes)
      string(APPEND COMMIT "-dirty")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "// Made by cmake/commit.cmake.\n#pragma once\n\n#define PLAIT_COMMIT \"@COMMIT@\"\n" @ONLY)
