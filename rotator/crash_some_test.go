//go:build !e2e

package rotator_test

// everyLine is false in the plain run: chance picks lines of the crash tables, and of
// other tables that take long (some).
const everyLine = false
