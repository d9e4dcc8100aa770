//go:build e2e

package rotator_test

// everyTenant makes the crash table cover every combination of lagging reads and
// ignored KeyIDs, which takes minutes.
const everyTenant = true
