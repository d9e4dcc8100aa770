//go:build !e2e

package rotator_test

// everyTenant is false in the plain run: the crash table takes a kind tenant and
// one that lags and ignores the KeyID.
const everyTenant = false
