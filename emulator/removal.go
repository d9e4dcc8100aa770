package emulator

// noCredentials is the answer to the removal of an entry that is not there, or that
// the answering replica does not know.
//
// https://github.com/blackadi/GraphAPI_addKey_API_SP
func (t *Tenant) noCredentials() *graphError {
	refusal := badRequest("No credentials found to be removed.")
	if t.RemoveUnknownStatus != 0 {
		refusal.status = t.RemoveUnknownStatus
	}
	return refusal
}

// removalFails decides whether the removal of an entry that is there has no effect:
// refused, or accepted all the same.
func (t *Tenant) removalFails(keyID string) (accepted bool, refusal *graphError) {
	n := t.removals[keyID]
	switch {
	case n < t.RemoveNotFound, t.RemoveNotFoundPercent > 0 && t.dice.IntN(100) < t.RemoveNotFoundPercent:
		refusal = t.noCredentials()
	case n < t.RemoveNotFound+t.RemoveAgain:
		accepted = true
	default:
		return false, nil
	}
	if t.removals == nil {
		t.removals = map[string]int{}
	}
	t.removals[keyID]++
	return accepted, refusal
}
