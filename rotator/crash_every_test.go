//go:build e2e

package rotator_test

// everyLine has each line of the crash table run, which takes minutes.
const everyLine = true
