// An expression, for the build script and for `GUEST_RUSTFLAGS`.
//
// simd128 takes a fifth to a quarter off arithmetic. A guest looks at the epoch in every turn of every loop, and keeps fewer
// values in registers for it: loops unrolled by four do so less often. Measured with the benchmark `boundary`, sandboxed by
// native: filter 1.30 to 1.23, derive 1.98 to 1.82, aggregate 3.3 to 3.1, for components two fifths larger.
"-C target-feature=+simd128 -C llvm-args=-unroll-count=4"
