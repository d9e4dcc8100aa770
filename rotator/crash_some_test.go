//go:build !e2e

package rotator_test

// everyLine is false in the plain run: chance picks lines of the crash table.
const everyLine = false
