// Package simulation plays whole lives of the program from seeds and judges from
// outside whether its promises were kept. All of it is in the package's tests: see
// TestSimulation, and docs/verification.md for the long run.
package simulation
