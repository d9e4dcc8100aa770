//go:build e2e

package rotator_test

// everyLine has each line of each table run, which takes minutes.
const everyLine = true
