package emulator

import (
	"maps"
	"slices"
)

// Clone returns a tenant that is as this one is now: what is done to one later does not
// show in the other. A test can go back to it, or try several ends of one story.
// Sign-ins of people that are under way are left out, and so is the request log.
func (t *Tenant) Clone() *Tenant {
	t.lock()
	defer t.mu.Unlock()
	c := &Tenant{
		ID: t.ID, Domain: t.Domain, Propagation: t.Propagation, ReadLag: t.ReadLag, Latency: t.Latency,
		RefuseEnded: t.RefuseEnded, LenientProof: t.LenientProof, RemoveUnknownStatus: t.RemoveUnknownStatus,
		RemoveNotFound: t.RemoveNotFound, RemoveNotFoundPercent: t.RemoveNotFoundPercent, RemoveAgain: t.RemoveAgain,
		DeniedError: t.DeniedError, NoPremium: t.NoPremium, SignInDelay: t.SignInDelay, OwnCorrelationIDs: t.OwnCorrelationIDs,
		Facts: t.Facts, PublicHosts: t.PublicHosts, Users: t.Users, RedirectURIs: t.RedirectURIs, SigningKey: t.SigningKey,
		Seed: t.Seed, ThrottlePercent: t.ThrottlePercent, RetryAfter: t.RetryAfter, LoseAnswersPercent: t.LoseAnswersPercent,
		FailPercent: t.FailPercent, ConflictPercent: t.ConflictPercent, KeyReadsPerMinute: t.KeyReadsPerMinute,
		ClockSkew: t.ClockSkew, Now: t.Now, Intercept: t.Intercept, Log: t.Log, Unknown: t.Unknown,
		turn: t.turn, read: t.read, reads: t.reads, removals: maps.Clone(t.removals), removalsSent: t.removalsSent,
		signIns: slices.Clone(t.signIns),
	}
	c.lock() // makes the dice
	defer c.mu.Unlock()
	c.dir = t.dir.clone()
	t.signMu.Lock()
	defer t.signMu.Unlock()
	c.signer, c.tokens = t.signer, maps.Clone(t.tokens)
	return c
}

// clone copies what changes; objects never do.
func (d *directory) clone() *directory {
	c := *d
	c.objects = make(map[string]*history[object], len(d.objects))
	for id, h := range d.objects {
		c.objects[id] = &history[object]{slices.Clone(h.versions)}
	}
	c.order = make(map[string][]string, len(d.order))
	for kind, ids := range d.order {
		c.order[kind] = slices.Clone(ids)
	}
	c.byClient = maps.Clone(d.byClient)
	c.assignments, c.consents, c.deleted = slices.Clone(d.assignments), slices.Clone(d.consents), slices.Clone(d.deleted)
	c.policies, c.policyOrder, c.blocked = maps.Clone(d.policies), slices.Clone(d.policyOrder), maps.Clone(d.blocked)
	c.users, c.mails = slices.Clone(d.users), slices.Clone(d.mails)
	return &c
}
