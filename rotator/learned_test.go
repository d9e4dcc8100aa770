package rotator_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// learn gives the rotator facts as a verification found them.
func (w *world) learn(r *rotator.Rotator, facts map[string]string) {
	w.t.Helper()
	found := map[string]rotator.VerifiedFact{}
	for name, value := range facts {
		value, answer, _ := strings.Cut(value, "|")
		found[name] = rotator.VerifiedFact{Value: value, Answer: answer, At: time.Now().UTC()}
	}
	if err := r.Learn(w.t.Context(), "contoso", "", found); err != nil {
		w.t.Fatal(err)
	}
}

// knows reports whether a verified fact is still kept.
func (w *world) knows(r *rotator.Rotator, name string) bool {
	w.t.Helper()
	facts, err := r.Facts(w.t.Context(), "contoso")
	if err != nil {
		w.t.Fatal(err)
	}
	_, known := facts.Verified[name]
	if changed := len(told(w.t, r, rotator.EventTenantFactChanged)) > 0; changed == known {
		w.t.Errorf("the fact %s is known: %v, and reported as changed: %v", name, known, changed)
	}
	return known
}

// whitelist is every fact that may change something, with the choice that it changes.
func whitelist() map[string]struct{ value, choice, becomes string } {
	return map[string]struct{ value, choice, becomes string }{
		"sign_in_after":        {"600s", "prove.within", "30m0s"},
		"sign_in_other_after":  {"700s", "prove.within", "35m0s"},
		"proof_accepted_after": {"3000s", "late proof", "1h40m0s"},
		"proof_usual":          {"refused", "proofs", "[x5t kid usual]"},
		"proof_x5t":            {"refused", "proofs", "[usual kid x5t]"},
		"proof_kid":            {"accepted", "proofs", "[kid usual x5t]"},
		"proof_x5t_s256":       {"accepted", "proofs", "[x5t_s256 usual x5t kid]"},
		"proof_ps256":          {"accepted", "proofs", "[ps256 usual x5t kid]"},
		"remove_itself":        {"refused", "refusal is final", "true"},
		"remove_itself ":       {"accepted", "signs itself", "true"},
		"expired_resent":       {"refused", "expired left out", "true"},
		"log_key_id":           {"other", "key ID in the log", "false"},
		"log_key_id ":          {"empty", "whole log", "true"},
		"log_filter_by_key_id": {"empty", "whole log", "true"},
		"ten_years":            {"refused|400 SomeCode far too long for '…'", "words of a refusal", "true"},
	}
}

// TestWhitelist shows for each fact which choice it changes, that it changes no other
// but what goes with it, and none when it is old or another version found it.
func TestWhitelist(t *testing.T) {
	now := time.Now()
	var none *rotator.TenantFacts
	usual := none.Choices("1", now)
	for name, one := range whitelist() {
		value, answer, _ := strings.Cut(one.value, "|")
		facts := &rotator.TenantFacts{
			Verified: map[string]rotator.VerifiedFact{strings.TrimSpace(name): {Value: value, Answer: answer}}, VerifiedAt: now, Version: "1",
		}
		if got := facts.Choices("1", now)[one.choice]; got != one.becomes || got == usual[one.choice] {
			t.Errorf("%s %s: %s is %q, want %q instead of %q", name, value, one.choice, got, one.becomes, usual[one.choice])
		}
		if got := facts.Choices("1", now.Add(181*24*time.Hour)); !maps.Equal(got, usual) {
			t.Errorf("%s %s, 181 days old: %v, want what is usual", name, value, got)
		}
		if got := facts.Choices("2", now); !maps.Equal(got, usual) {
			t.Errorf("%s %s, found by version 1: version 2 chooses %v, want what is usual", name, value, got)
		}
	}
	// A time only lengthens a wait.
	short := &rotator.TenantFacts{Verified: map[string]rotator.VerifiedFact{"sign_in_after": {Value: "1s"}, "proof_accepted_after": {Value: "1s"}}, VerifiedAt: now, Version: "1"}
	if got := short.Choices("1", now); !maps.Equal(got, usual) {
		t.Errorf("short times shorten a wait: %v", got)
	}
}

// TestContradicted has ordinary answers say something else than each fact.
func TestContradicted(t *testing.T) {
	for _, one := range []struct{ name, value, seen, now string }{
		{"proof_usual", "accepted", "proof_refused_usual", "refused"},
		{"proof_usual", "refused", "proof_accepted_usual", "accepted"},
		{"proof_x5t", "accepted", "proof_refused_x5t", "refused"},
		{"proof_kid", "refused", "proof_accepted_kid", "accepted"},
		{"proof_x5t_s256", "accepted", "proof_refused_x5t_s256", "refused"},
		{"proof_ps256", "accepted", "proof_refused_ps256", "refused"},
		{"remove_itself", "accepted", rotator.CountRemoveSelfRefused, "refused"},
		{"remove_itself", "refused", rotator.CountRemoveSelfDone, "accepted"},
		{"expired_resent", "accepted", rotator.CountExpiredRefused, "refused"},
		{"expired_resent", "refused", rotator.CountExpiredResent, "accepted"},
		{"log_key_id", "filled", rotator.CountLogNoKeyID, "empty"},
		{"log_key_id", "empty", rotator.CountLogKeyID, "filled"},
		{"log_thumbprint", "filled", rotator.CountLogNoThumbprint, "empty"},
		{"log_thumbprint", "empty", rotator.CountLogThumbprint, "filled"},
		{"log_filter_by_key_id", "accepted", rotator.CountLogNoFilter, "refused"},
		{"ten_years", "accepted", rotator.CountPolicyRefused, "refused"},
		{"ten_years", "refused", rotator.CountTenYears, "accepted"},
		{"patch_key_id", "kept", "key_id_refused_patch", "refused"},
		{"custom_key_identifier", "hex", rotator.CountCustomIDBase64, "base64"},
	} {
		facts, fresh, same := rotator.TenantFacts{Verified: map[string]rotator.VerifiedFact{one.name: {Value: one.value}}}, rotator.TenantFacts{}, rotator.TenantFacts{}
		fresh.Counted(one.seen)
		if got := facts.Contradicted(&fresh); !slices.Equal(got, []string{one.name + " " + one.now}) {
			t.Errorf("%s %s, and %s was seen: contradicted %v, want %s", one.name, one.value, one.seen, got, one.now)
		}
		if got := facts.Contradicted(&same); len(got) > 0 {
			t.Errorf("%s %s, and nothing was seen: contradicted %v", one.name, one.value, got)
		}
	}
	for _, name := range []string{"sign_in_after", "sign_in_other_after", "proof_accepted_after"} {
		facts, fresh := rotator.TenantFacts{Verified: map[string]rotator.VerifiedFact{name: {Value: "30s"}}}, rotator.TenantFacts{}
		fresh.Took(map[string]string{"sign_in_after": rotator.SpanSignIn, "sign_in_other_after": rotator.SpanSignInOther, "proof_accepted_after": rotator.SpanProof}[name], 10*time.Minute)
		if got := facts.Contradicted(&fresh); !slices.Equal(got, []string{name + " 10m0s"}) {
			t.Errorf("%s 30s, and it took ten minutes: contradicted %v", name, got)
		}
	}
}

// proofsSent are the forms of the proofs that reached the tenant, each with the status.
func (w *world) proofsSent() func() []string {
	var forms []string
	w.refuse(func(q emulator.Request) *emulator.Fault {
		var body struct {
			Proof string `json:"proof"`
		}
		if json.Unmarshal(q.Body, &body) != nil || body.Proof == "" {
			return nil
		}
		first, _, _ := strings.Cut(body.Proof, ".")
		text, err := base64.RawURLEncoding.DecodeString(first)
		var header map[string]any
		if err == nil {
			err = json.Unmarshal(text, &header)
		}
		if err != nil {
			w.t.Error(err)
		}
		delete(header, "typ")
		forms = append(forms, strings.Join(slices.Sorted(maps.Keys(header)), " "))
		return nil
	})
	return func() []string { return forms }
}

// TestLearnedProof: where a tenant refuses the usual proof, the next form is sent, at
// once and once more each time; a fact lets it be the first. A fact that no longer holds
// is dropped.
func TestLearnedProof(t *testing.T) {
	for name, one := range map[string]struct {
		facts map[string]string
		set   emulator.Open
		first string
		sent  int // proofs of the upload
		drops string
	}{
		"nothing known, accepted":   {nil, emulator.Open{}, "alg kid x5t", 1, ""},
		"nothing known, refused":    {nil, emulator.Open{NoProofUsual: true}, "alg kid x5t", 2, ""},
		"refused twice":             {nil, emulator.Open{NoProofUsual: true, NoProofX5T: true}, "alg kid x5t", 3, ""},
		"known to be refused":       {map[string]string{"proof_usual": "refused", "proof_x5t": "accepted"}, emulator.Open{NoProofUsual: true}, "alg x5t", 1, ""},
		"kid only":                  {map[string]string{"proof_usual": "refused", "proof_x5t": "refused", "proof_kid": "accepted"}, emulator.Open{NoProofUsual: true, NoProofX5T: true}, "alg kid", 1, ""},
		"x5t#S256 only":             {map[string]string{"proof_usual": "refused", "proof_x5t": "refused", "proof_kid": "refused", "proof_x5t_s256": "accepted"}, emulator.Open{NoProofUsual: true, NoProofX5T: true, NoProofKid: true, ProofS256: true}, "alg x5t#S256", 1, ""},
		"known to be accepted, not": {map[string]string{"proof_usual": "accepted"}, emulator.Open{NoProofUsual: true}, "alg kid x5t", 2, "proof_usual"},
		"known otherwise":           {map[string]string{"proof_x5t": "accepted", "proof_usual": "refused"}, emulator.Open{NoProofX5T: true}, "alg x5t", 2, "proof_x5t"},
	} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			w.tenant.Configure(func(e *emulator.Tenant) { e.Facts = one.set })
			w.learn(r, one.facts)
			sent := w.proofsSent()
			stop := run(w.t, r)
			await(w.t, r, "app-1", time.Hour, "uploaded", func(s rotator.AppStatus) bool {
				return s.Rotation != nil && !s.Rotation.PhaseAt[rotator.PhaseUploaded].IsZero()
			})
			forms := slices.Clone(sent())
			await(w.t, r, "app-1", 6*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			if len(forms) != one.sent || forms[0] != one.first {
				w.t.Errorf("proofs of the upload: %q, want %d and %q first", forms, one.sent, one.first)
			}
			if one.drops != "" && w.knows(r, one.drops) {
				w.t.Errorf("%s is still known", one.drops)
			}
			w.checkTenantWith(r)
		})
	}
}

// TestLearnedSelfRemoval: where the last certificate has to be removed and its removal
// had no effect, it signs it again only in a tenant that is known to accept that; where
// it is known to be refused, the first refusal is final.
func TestLearnedSelfRemoval(t *testing.T) {
	slow := fast()
	slow.Prove = &rotator.ProvePolicy{Successes: 2, Spacing: 10 * time.Minute, Within: 40 * time.Minute}
	o := options{mode: rotator.ModeManaged, noKey: true, defaults: slow}
	for name, one := range map[string]struct {
		fact     string
		accepts  bool
		removed  bool
		left     time.Duration // within which it is left to a person; zero: it is not
		drops    bool
		reported bool
	}{
		"accepted, not known":      {accepts: true, reported: true},
		"accepted, known":          {fact: "accepted", accepts: true, removed: true},
		"refused, not known":       {left: 3 * time.Hour},
		"refused, known":           {fact: "refused", left: 5 * time.Minute},
		"refused, known otherwise": {fact: "accepted", left: 3 * time.Hour, drops: true},
	} {
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			w.tenant.Configure(func(e *emulator.Tenant) {
				e.Facts.SelfRemoval = one.accepts
				if one.accepts {
					e.RemoveAgain = 1
				}
			})
			if one.fact != "" {
				w.learn(r, map[string]string{"remove_itself": one.fact})
			}
			stop := run(t, r)
			await(t, r, "app-1", 20*time.Hour, "uploaded", phaseIs(rotator.PhaseUploaded))
			begun := time.Now()
			if _, err := r.RollBack(t.Context(), "app-1", "a person"); err != nil {
				t.Fatal(err)
			}
			s := await(t, r, "app-1", 5*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
			if took := time.Since(begun); one.left > 0 != (len(s.App.Orphans) > 0) || one.left > 0 && took > one.left || one.left == 3*time.Hour && took < 30*time.Minute {
				t.Errorf("after %s it is left to a person: %v; want that within %s", took, len(s.App.Orphans) > 0, one.left)
			}
			if one.accepts {
				done := func(s rotator.AppStatus) bool {
					return len(s.App.Removals) == 1 && (s.App.Removals[0].End != "" || !s.App.Removals[0].ReportedAt.IsZero())
				}
				s = await(t, r, "app-1", 8*time.Hour, "settled", done)
				m := s.App.Removals[0]
				if (m.End == rotator.RemovalRemoved) != one.removed || !m.ReportedAt.IsZero() != one.reported {
					t.Errorf("the removal ended as %q, reported: %v (%s)", m.End, !m.ReportedAt.IsZero(), m.Trouble)
				}
			}
			stop()
			if one.fact != "" && w.knows(r, "remove_itself") == one.drops {
				t.Errorf("the fact is dropped: %v, want %v", !one.drops, one.drops)
			}
		})
	}
}

// TestLearnedExpired: a tenant that is known to refuse expired entries gets a list
// without them after one refusal, with the same alert, and not after four. One that
// takes them back loses the fact, and the entry stays.
func TestLearnedExpired(t *testing.T) {
	for name, one := range map[string]struct {
		fact            string
		refuses         bool
		most, least     int // PATCHes
		listed, dropped bool
	}{
		"refused, not known":        {"", true, 5, 5, false, false},
		"refused, known":            {"refused", true, 2, 2, false, false},
		"accepted, known otherwise": {"refused", false, 1, 1, true, true},
		"refused, known otherwise":  {"accepted", true, 5, 5, false, true},
	} {
		bubble(t, name, options{mode: rotator.ModeManaged, noKey: true}, func(w *world, r *rotator.Rotator) {
			t := w.t
			der := certificate(t, keys()[2], "ended", time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
			id, err := w.tenant.AddKeyCredential(w.apps[0].clientID, emulator.KeyCredential{Certificate: der, DisplayName: "an old one"})
			if err != nil {
				t.Fatal(err)
			}
			w.tenant.Configure(func(e *emulator.Tenant) { e.RefuseEnded = one.refuses })
			if one.listed {
				w.foreign[w.apps[0].clientID] = w.notOurs(w.apps[0].clientID, nil)
			}
			if one.fact != "" {
				w.learn(r, map[string]string{"expired_resent": one.fact})
			}
			stop := run(t, r)
			await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			patches := 0
			for _, e := range w.tenant.Requests() {
				if e.Method == http.MethodPatch {
					patches++
				}
			}
			if patches < one.least || patches > one.most || w.lists(id) != one.listed {
				t.Errorf("%d PATCHes, listed: %v; want %d to %d, %v", patches, w.lists(id), one.least, one.most, one.listed)
			}
			if named := strings.Contains(strings.Join(w.told(r), "\n"), "an old one"); named == one.listed {
				t.Errorf("an alert names it: %v", named)
			}
			if one.fact != "" && w.knows(r, "expired_resent") == one.dropped {
				t.Errorf("the fact is dropped: %v, want %v", !one.dropped, one.dropped)
			}
			w.checkTenantWith(r)
		})
	}
}

// TestLearnedLog: evidence of use is found by the filter, or in the whole log by key ID
// or thumbprint, whatever the tenant fills in; facts choose which is asked first.
func TestLearnedLog(t *testing.T) {
	for name, one := range map[string]struct {
		facts    map[string]string
		set      emulator.Open
		filtered bool // the first request
		drops    string
	}{
		"filter":                          {nil, emulator.Open{}, true, ""},
		"no key ID, not known":            {nil, emulator.Open{NoLogKeyID: true}, true, ""},
		"no filter, not known":            {nil, emulator.Open{NoLogFilter: true}, true, ""},
		"no key ID, known":                {map[string]string{"log_key_id": "empty"}, emulator.Open{NoLogKeyID: true}, false, ""},
		"no filter, known":                {map[string]string{"log_filter_by_key_id": "refused"}, emulator.Open{NoLogFilter: true}, false, ""},
		"no key ID, known otherwise":      {map[string]string{"log_key_id": "filled"}, emulator.Open{NoLogKeyID: true}, true, "log_key_id"},
		"no filter, known otherwise":      {map[string]string{"log_filter_by_key_id": "accepted"}, emulator.Open{NoLogFilter: true}, true, "log_filter_by_key_id"},
		"key ID, known otherwise":         {map[string]string{"log_key_id": "empty"}, emulator.Open{}, false, "log_key_id"},
		"no thumbprint, known otherwise":  {map[string]string{"log_thumbprint": "filled"}, emulator.Open{NoLogThumbprint: true}, true, "log_thumbprint"},
		"thumbprints, known otherwise":    {map[string]string{"log_thumbprint": "empty"}, emulator.Open{}, true, "log_thumbprint"},
		"neither filter nor key ID known": {map[string]string{"log_filter_by_key_id": "refused", "log_key_id": "empty"}, emulator.Open{NoLogFilter: true, NoLogKeyID: true}, false, ""},
	} {
		bubble(t, name, asksForEvidence(), func(w *world, r *rotator.Rotator) {
			t := w.t
			w.tenant.Configure(func(e *emulator.Tenant) { e.Facts = one.set })
			w.learn(r, one.facts)
			stop := run(t, r)
			s := await(t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
			old, next := w.pairs(r, s)
			time.Sleep(10 * time.Minute)
			w.consumer(r, old)
			w.consumer(r, next)
			s = await(t, r, "app-1", 2*time.Hour, "held", waitsForEvidence)
			stop()
			if e := s.Rotation.Evidence; e.Result != rotator.EvidenceUsed || e.OldUsedAt.IsZero() || e.NewUsedAt.IsZero() {
				t.Errorf("evidence %+v, want both in use", e)
			}
			var asked []bool
			for _, e := range w.tenant.Requests() {
				if strings.HasSuffix(e.Path, "/signIns") {
					asked = append(asked, strings.Contains(e.Query, "servicePrincipalCredentialKeyId"))
				}
			}
			if len(asked) == 0 || asked[0] != one.filtered {
				t.Errorf("filtered: %v, want %v first", asked, one.filtered)
			}
			if one.drops != "" && w.knows(r, one.drops) {
				t.Errorf("%s is still known", one.drops)
			}
			if !w.carries(s.Rotation.Old) {
				t.Error("the old certificate was removed although it is used")
			}
		})
	}
}

// TestLearnedPolicy: a refusal in words that nobody knows is something for a person; in
// the words in which the tenant refused ten years, it is one by policy.
func TestLearnedPolicy(t *testing.T) {
	const refusal = "Request_BadRequest Certificates of this organization live for two years at most."
	long := options{spec: func(s *rotator.AppSpec) { s.Policy.Validity = new(3 * 365 * 24 * time.Hour) }}
	for name, one := range map[string]struct {
		facts  map[string]string
		policy bool
		drops  bool
	}{
		"not known":        {nil, false, false},
		"known":            {map[string]string{"ten_years": "refused|400 " + refusal}, true, false},
		"other words":      {map[string]string{"ten_years": "refused|400 Request_BadRequest The certificate is too weak for this organization."}, false, false},
		"known otherwise ": {map[string]string{"ten_years": "accepted"}, false, false},
	} {
		bubble(t, name, long, func(w *world, r *rotator.Rotator) {
			t := w.t
			w.tenant.Configure(func(e *emulator.Tenant) { e.Facts.LifetimeRefusal = refusal })
			w.learn(r, one.facts)
			stop := run(t, r)
			s := await(t, r, "app-1", 2*time.Hour, "refused", func(s rotator.AppStatus) bool { return s.Trouble != nil && s.Trouble.Class == rotator.ClassFix })
			stop()
			if (s.Trouble.Reason == rotator.ReasonPolicy) != one.policy || one.policy && !strings.Contains(s.Trouble.Next, "shorten") {
				t.Errorf("trouble %+v, want reason policy: %v", s.Trouble, one.policy)
			}
			if back := s.Rotation != nil && s.Rotation.Back != nil && s.Rotation.Back.Reason == "policy"; back != one.policy {
				t.Errorf("the rotation ended by policy: %v, want %v", back, one.policy)
			}
		})
	}
}
