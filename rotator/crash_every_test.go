//go:build e2e

package rotator_test

// everyLine has each line of the crash table run, for every combination of lagging
// reads and ignored KeyIDs, which takes minutes.
const everyLine = true
