#!/bin/bash
# For tests: a text that names a folder makes the script wait until that folder is gone, or fail
# with the words of the file `error` in it. The shipped script follows, word for word.
text=$(tr -d '\0' <"$2")
while [[ $text == /* && -d $text ]]; do
  if [[ -f $text/error ]]; then cat -- "$text/error" >&2 && exit 1; fi
  sleep 0.05
done

