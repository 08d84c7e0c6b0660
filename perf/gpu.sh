#!/usr/bin/env bash
# What a GPU gives, in at most nine minutes: seconds an epoch of each backbone at 96^3 in float32 and bfloat16, then
# table2/5 as printed on one fold of the SYNTHETIC phantom as far as it comes, then the detector's training where there
# is one. Each part is timed, and skipped when the time left is too short; the same command goes on where it stopped.
#
#   perf/gpu.sh [OUT]                     LIMIT_S=540 by default; COHORT=DIR takes a localized cohort
#   DRY=1 COHORT=DIR perf/gpu.sh OUT      the same on a CPU with the smallest networks, to try the script
set -u
out=${1:-out/gpu} limit=${LIMIT_S:-540} python=${PYTHON:-python}
here=$(dirname "$(readlink -f "$0")")
cohort=${COHORT:-$out/ictmri-phantom}
mkdir -p "$out" || exit 1
profile=paper dry=
if [ -n "${DRY:-}" ]; then profile=smoke dry=--dry; fi

left() { echo $((limit - SECONDS)); }

# part NAME LEAST MOST COMMAND...: run it with MOST seconds at most, where LEAST are left; once done, never again.
part() {
  local name=$1 least=$2 most=$3 rest began=$SECONDS code
  shift 3
  rest=$(left)
  if [ -e "$out/$name.done" ]; then echo "$name: done before"; return 0; fi
  if [ "$rest" -lt "$least" ]; then echo "$name: skipped, $rest s left"; return 1; fi
  timeout -k 10 "$((rest < most ? rest : most))" "$@" >>"$out/$name.log" 2>&1
  code=$?
  echo "$name: exit $code after $((SECONDS - began)) s" | tee -a "$out/times.txt"
  [ $code -eq 0 ] && touch "$out/$name.done"
  return $code
}

ictmri() { "$python" -c 'from ictmri.cli.app import main; main()' "$@"; }
export -f ictmri
export python

"$python" -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())' \
  >"$out/device.txt" 2>&1 || { cat "$out/device.txt"; exit 1; }
cat "$out/device.txt"

part epochs 30 200 "$python" "$here/gpu.py" --out "$out/epochs.json" --seconds 190 $dry
if [ -z "${COHORT:-}" ]; then
  part build 60 240 bash -c "ictmri build phantom --out '$cohort'" &&
    part process 60 240 bash -c "ictmri process '$cohort' --settings light" &&
    part localize 60 240 bash -c "ictmri localize '$cohort'"
else
  touch "$out/localize.done"
fi
if [ -e "$out/localize.done" ]; then
  # It keeps a state every ten epochs, so what the limit cuts off is gone on with.
  part fold 40 "$limit" bash -c \
    "ictmri reproduce table2/5 --cohort '$cohort' --profile $profile --folds 0 --seeds 0 --out '$out/table2-5'"
fi
if ictmri train-detector --help >/dev/null 2>&1 && [ -z "$dry" ]; then
  part detector 40 "$limit" bash -c "ictmri train-detector --out '$out/detector'"
else
  echo "detector: skipped, there is no ictmri train-detector here, or it is a dry run"
fi
# A limit that cut a part off is no failure; a part that failed is.
! grep -qE "exit (1|2|126|127)\b" "$out/times.txt" 2>/dev/null
