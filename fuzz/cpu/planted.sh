#!/bin/sh
# Plants one wrong semantics after another in a scratch copy of the interpreter and shows that the
# differential notices each. The product's sources hold no fault code: the faults are the patches in
# planted/, one each. Exit status 0 iff every patch applies, builds and is caught.
#
# usage: planted.sh [options of fuzz-cpu, default --cases 3000000]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=${PLANTED_DIR:-$root/target/planted}
: "${CARGO_TARGET_DIR:=$scratch/target}"
export CARGO_TARGET_DIR
[ $# -gt 0 ] || set -- --cases 3000000

rm -rf "$scratch/source"
mkdir -p "$scratch/source"
cp -r "$root/Cargo.toml" "$root/Cargo.lock" "$root/crates" "$root/fuzz" "$scratch/source/"
cd "$scratch/source"

build() {
    cargo build --quiet --release -p wardian-fuzz-cpu
}

fuzz() {
    "$CARGO_TARGET_DIR/release/fuzz-cpu" --stop-at-first "$@"
}

build
for mode in 64 32; do
    fuzz --mode $mode "$@" >"$scratch/unchanged.log" || {
        cat "$scratch/unchanged.log"
        echo "planted.sh: the unchanged interpreter differs already" >&2
        exit 1
    }
done

planted=0
caught=0
for patch in "$here"/planted/*.patch; do
    name=$(basename "$patch" .patch)
    planted=$((planted + 1))
    patch --quiet --strip 1 <"$patch"
    build
    verdict=missed
    for mode in 64 32; do
        if ! fuzz --mode $mode "$@" >"$scratch/$name.log"; then
            verdict="caught: $(grep -m 1 '^---' "$scratch/$name.log")"
            caught=$((caught + 1))
            break
        fi
    done
    echo "$name: $verdict"
    patch --quiet --strip 1 --reverse <"$patch"
done
echo "planted.sh: $caught of $planted planted faults caught"
[ "$caught" = "$planted" ]
