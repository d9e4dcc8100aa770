package rotator

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// TenantFacts is what one tenant was seen to do: counts, times and refusals,
// without identifiers. It is a statistic: what a process that dies has not written
// yet is lost.
//
// Nothing that is safe may rest on it. A fact may only choose between two ways that
// are both coded, or lengthen a wait.
type TenantFacts struct {
	// Since is when the first of them was noted, At when the last one was.
	Since time.Time `json:"since,omitzero"`
	At    time.Time `json:"at,omitzero"`
	// Counts by what was counted, one of the Count… names.
	Counts map[string]int `json:"counts,omitempty"`
	// Spans by what took so long, one of the Span… names.
	Spans map[string]Span `json:"spans,omitempty"`
	// Refusals are the first kinds that were answered, in the order of their coming.
	Refusals []Refusal `json:"refusals,omitempty"`
	// Verified are facts that "rotate tenant verify" found, by name.
	Verified map[string]VerifiedFact `json:"verified,omitempty"`
	// VerifiedAt is when that was, Version which major version of rotate found them.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	Version    string    `json:"version,omitempty"`
}

// VerifiedFact is one fact that was tried.
type VerifiedFact struct {
	// Value is a word or a number of seconds such as "12s".
	Value string    `json:"value"`
	At    time.Time `json:"at"`
	// Answer is status, code and message, masked; empty where it is not used.
	Answer string `json:"answer,omitempty"`
}

// What is counted.
const (
	// A certificate was sent with a KeyID of ours, and what became of it; the way,
	// addKey or patch, follows behind a "_".
	CountKeyIDSent     = "key_id_sent"
	CountKeyIDRefused  = "key_id_refused"
	CountKeyIDKept     = "key_id_kept"
	CountKeyIDReplaced = "key_id_replaced"
	// What addKey's answer held.
	CountAnswerKeyID   = "add_key_answer_with_key_id"
	CountAnswerNoKeyID = "add_key_answer_without_key_id"
	CountAnswerKey     = "add_key_answer_with_key"
	CountAnswerKeyNull = "add_key_answer_key_null"
	// What removeKey answered.
	CountRemoveDone     = "remove_key_accepted"
	CountRemoveNotFound = "remove_key_not_found"
	CountRemoveBadProof = "remove_key_proof_refused"
	CountRemoveRefused  = "remove_key_refused"
	// A removal that the removed key itself signed.
	CountRemoveSelfDone    = "remove_key_by_itself_accepted"
	CountRemoveSelfRefused = "remove_key_by_itself_refused"
	// The form of customKeyIdentifier in lists.
	CountCustomIDHex    = "custom_key_identifier_hex"
	CountCustomIDBase64 = "custom_key_identifier_base64"
	CountCustomIDOther  = "custom_key_identifier_other"
	// A sign-in with a new certificate was refused after one was accepted.
	CountSignInMiss = "sign_in_refused_after_accepted"
	// A replaced list with an entry that has expired, and what became of it.
	CountExpiredResent  = "expired_entry_resent_accepted"
	CountExpiredRefused = "expired_entry_resent_refused"
	// Forms of a proof, the form follows behind a "_": refused where another form was
	// accepted for the same request, so that it was not the key.
	CountProofAccepted = "proof_accepted"
	CountProofRefused  = "proof_refused"
	// What the sign-in log shows of the credential, and that it does not filter by it.
	CountLogKeyID        = "log_key_id_filled"
	CountLogNoKeyID      = "log_key_id_empty"
	CountLogThumbprint   = "log_thumbprint_filled"
	CountLogNoThumbprint = "log_thumbprint_empty"
	CountLogNoFilter     = "log_filter_by_key_id_refused"
	// A certificate was refused by a policy, and one of ten years was accepted.
	CountPolicyRefused = "policy_refused"
	CountTenYears      = "ten_years_accepted"
)

// What takes time.
const (
	// From the answer to an upload until a list showed the entry, and until five
	// lists in a row had shown it.
	SpanListed       = "listed_after"
	SpanListedSteady = "listed_steadily_after"
	// From the answer to an upload until the first sign-in was accepted, and until a
	// proof by the new key was.
	SpanSignIn = "sign_in_accepted_after"
	// The same for the further audiences of prove.scopes.
	SpanSignInOther = "sign_in_other_accepted_after"
	SpanProof       = "proof_accepted_after"
	// From a removal to the first of the lists that do not show it any more, and of the
	// sign-ins that are refused.
	SpanUnlisted = "removal_listed_after"
	SpanRefused  = "removal_refused_after"
	// What servers asked to wait, and how far their clock is from ours.
	SpanRetryAfter = "retry_after"
	SpanSkew       = "clock_difference"
)

// Refusal is one kind of answer that refused.
type Refusal struct {
	// Code is Graph's, or AADSTS and a number. Message has no identifiers.
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Count   int       `json:"count"`
	At      time.Time `json:"at"`
}

const (
	// maxRefusals bounds the kinds that are kept.
	maxRefusals = 50
	// maxRefusalRunes bounds the message of one.
	maxRefusalRunes = 160
)

// Span is the distribution of a length of time.
type Span struct {
	Count int           `json:"count"`
	Min   time.Duration `json:"min"`
	Max   time.Duration `json:"max"`
	// Buckets count by the power of two of a second that the length is not above.
	Buckets map[int]int `json:"buckets"`
}

// Powers of two of a second that are told apart.
const (
	minPower = -4
	maxPower = 20
)

// Add notes one length.
func (s *Span) Add(d time.Duration) {
	d = d.Round(10 * time.Millisecond)
	power := minPower
	if d > 0 {
		power = min(max(int(math.Ceil(math.Log2(d.Seconds()))), minPower), maxPower)
	}
	if s.Count == 0 {
		s.Min, s.Max = d, d
	}
	s.Count, s.Min, s.Max = s.Count+1, min(s.Min, d), max(s.Max, d)
	if s.Buckets == nil {
		s.Buckets = map[int]int{}
	}
	s.Buckets[power]++
}

// Median is about half of them: exact to a power of two.
func (s *Span) Median() time.Duration {
	left := (s.Count + 1) / 2
	for _, power := range slices.Sorted(maps.Keys(s.Buckets)) {
		if left -= s.Buckets[power]; left <= 0 {
			return min(max(time.Duration(math.Exp2(float64(power))*float64(time.Second)), s.Min), s.Max)
		}
	}
	return s.Max
}

func (s *Span) merge(other Span) {
	if other.Count == 0 {
		return
	}
	if s.Count == 0 {
		*s = Span{Min: other.Min, Max: other.Max}
	}
	s.Count, s.Min, s.Max = s.Count+other.Count, min(s.Min, other.Min), max(s.Max, other.Max)
	if s.Buckets == nil {
		s.Buckets = map[int]int{}
	}
	for power, n := range other.Buckets {
		s.Buckets[power] += n
	}
}

// IsZero reports whether nothing is known.
func (f *TenantFacts) IsZero() bool {
	return f == nil || len(f.Counts) == 0 && len(f.Spans) == 0 && len(f.Refusals) == 0 && len(f.Verified) == 0
}

// Counted notes that something happened.
func (f *TenantFacts) Counted(what string) {
	if f.Counts == nil {
		f.Counts = map[string]int{}
	}
	f.Counts[what]++
}

// Took notes how long something took.
func (f *TenantFacts) Took(what string, d time.Duration) {
	if f.Spans == nil {
		f.Spans = map[string]Span{}
	}
	s := f.Spans[what]
	s.Add(max(d, 0))
	f.Spans[what] = s
}

// Refused notes an answer that refused; the message is masked here.
func (f *TenantFacts) Refused(code, message string, at time.Time) {
	f.refused(Refusal{Code: code, Message: Masked(message), Count: 1, At: at.UTC()})
}

func (f *TenantFacts) refused(r Refusal) {
	i := slices.IndexFunc(f.Refusals, func(known Refusal) bool { return known.Code == r.Code && known.Message == r.Message })
	switch {
	case i >= 0:
		f.Refusals[i].Count += r.Count
		f.Refusals[i].At = r.At
	case len(f.Refusals) < maxRefusals:
		f.Refusals = append(f.Refusals, r)
	}
}

// Merge adds what was noted elsewhere; Verified is not touched.
func (f *TenantFacts) Merge(other *TenantFacts) {
	if other == nil {
		return
	}
	for what, n := range other.Counts {
		if f.Counts == nil {
			f.Counts = map[string]int{}
		}
		f.Counts[what] += n
	}
	for what, span := range other.Spans {
		if f.Spans == nil {
			f.Spans = map[string]Span{}
		}
		s := f.Spans[what]
		s.Buckets = maps.Clone(s.Buckets)
		s.merge(span)
		f.Spans[what] = s
	}
	for _, r := range other.Refusals {
		f.refused(r)
	}
}

// clone copies all that Merge changes.
func (f *TenantFacts) clone() *TenantFacts {
	if f == nil {
		return &TenantFacts{}
	}
	next := *f
	next.Counts, next.Spans = maps.Clone(f.Counts), maps.Clone(f.Spans)
	next.Refusals, next.Verified = slices.Clone(f.Refusals), maps.Clone(f.Verified)
	return &next
}

// identifiers are what a message of Microsoft's may hold of a tenant: GUIDs, hex
// digits of certificates, times, addresses, and whatever stands in quotes.
var identifiers = regexp.MustCompile(`[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}` +
	`|[0-9a-fA-F]{16,}|\d{4}-\d\d-\d\d[T ][0-9:.]+Z?|\S+@\S+|https?://\S+|(?:\d{1,3}\.){3}\d{1,3}`)

var quotedText = regexp.MustCompile(`(^|[^A-Za-z])'[^']*'`)

// Masked is a message without identifiers, and not longer than it takes to know it
// again.
func Masked(message string) string {
	message = masked(message)
	if runes := []rune(message); len(runes) > maxRefusalRunes {
		message = string(runes[:maxRefusalRunes]) + "…"
	}
	return message
}

func masked(message string) string {
	message = quotedText.ReplaceAllString(message, "$1'…'")
	return strings.Join(strings.Fields(identifiers.ReplaceAllString(message, "…")), " ")
}

// factsLast is how long a verified fact is used.
const factsLast = 180 * day

// Old says why what was verified is not used any more; empty: it is used, or nothing
// was verified.
func (f *TenantFacts) Old(version string, now time.Time) string {
	switch {
	case f == nil || len(f.Verified) == 0:
	case f.Version != version:
		return "verified by version " + f.Version + " of rotate"
	case now.Sub(f.VerifiedAt) > factsLast:
		return "verified more than 180 days ago"
	}
	return ""
}

// Observed gives what answers showed since it was last asked, by tenant; nil:
// nothing. It is safe for concurrent use.
type Observed interface {
	Observations(tenant string) *TenantFacts
}

// Noted is which facts of its tenant a rotation has given, so that each counts once.
type Noted struct {
	// Listed counts readings in a row that showed the new certificate, up to five.
	Listed int `json:"listed,omitempty"`
	// SignedIn tells that a sign-in with it was accepted, Signed that a proof was,
	// Unsigned that one was refused before.
	SignedIn bool `json:"signed_in,omitempty"`
	// SignedInTo is how many of prove.scopes accepted it.
	SignedInTo int  `json:"signed_in_to,omitempty"`
	Signed     bool `json:"signed,omitempty"`
	Unsigned   bool `json:"unsigned,omitempty"`
}

// steadyReads in a row that show an entry are what other tools wait for before they
// call it there.
const steadyReads = 5

// noted is what a turn saw and has not written: the facts, and what of them the
// rotation has given then.
type noted struct {
	TenantFacts
	Noted
	// has tells that Noted was read from the rotation.
	has bool
}

// notes returns what the turn noted, for more of it.
func (t *turn) notes() *noted {
	if !t.noted.has {
		t.noted.Noted, t.noted.has = t.rot.Noted, true
	}
	return &t.noted
}

// keepFacts writes what was seen in the tenant since the last record, together with
// that of the turn. It costs no commit of its own.
func (t *turn) keepFacts(rec *Records) error {
	fresh := &TenantFacts{}
	if o := t.r.settings().Observed; o != nil {
		fresh.Merge(o.Observations(t.app.Tenant))
	}
	fresh.Merge(&t.noted.TenantFacts)
	if t.noted.has && rec.Rotation != nil && rec.Rotation.ID == t.rot.ID {
		rec.Rotation.Noted = t.noted.Noted
	}
	if fresh.IsZero() {
		return nil
	}
	state, err := rec.Tenant(t.app.Tenant)
	if err != nil {
		return err
	}
	facts := state.Facts.clone()
	facts.Merge(fresh)
	t.drop(rec, facts, fresh)
	facts.At = t.now().UTC()
	if facts.Since.IsZero() {
		facts.Since = facts.At
	}
	state.Facts = facts
	return nil
}

// sinceUpload is how long ago the upload was answered; false where that is no
// measure: nothing was uploaded, or so long ago that other things decide.
func (t *turn) sinceUpload() (time.Duration, bool) {
	at := t.rot.PhaseAt[PhaseUploaded]
	since := t.now().Sub(at)
	return since, !at.IsZero() && since >= 0 && since < day
}

// noteUpload notes what became of a KeyID of ours.
func (t *turn) noteUpload(way string, got, sent KeyID, err error) {
	if sent == "" {
		return
	}
	n := t.notes()
	n.Counted(CountKeyIDSent + "_" + way)
	switch {
	case err != nil && strings.Contains(failureOf(err).Message, "KeyId"):
		n.Counted(CountKeyIDRefused + "_" + way)
	case err != nil || got == "":
	case got == sent:
		n.Counted(CountKeyIDKept + "_" + way)
	default:
		n.Counted(CountKeyIDReplaced + "_" + way)
	}
}

// noteAccepted notes what an accepted upload says about the tenant: whether a list with
// expired entries was taken, and a certificate of ten years.
func (t *turn) noteAccepted(way string, add NewKey, listing Listing, err error) {
	if err != nil {
		return
	}
	n := t.notes()
	if add.NotAfter.Sub(add.NotBefore) >= tenYears {
		n.Counted(CountTenYears)
	}
	if way != WayPatch {
		return
	}
	if len(add.Without) > 0 {
		n.Counted(CountExpiredRefused)
		return
	}
	if slices.ContainsFunc(listing.Entries, func(e Entry) bool { return !e.NotAfter.IsZero() && e.NotAfter.Before(listing.At) }) {
		n.Counted(CountExpiredResent)
	}
}

const tenYears = 3650 * day

// noteLogged notes which fields the sign-in log fills in for a sign-in that was
// accepted.
func (t *turn) noteLogged(s LoggedSignIn) {
	if s.ErrorCode != 0 {
		return
	}
	n := t.notes()
	if s.KeyID != "" {
		n.Counted(CountLogKeyID)
	} else {
		n.Counted(CountLogNoKeyID)
	}
	if s.ThumbprintSHA1 != "" {
		n.Counted(CountLogThumbprint)
	} else {
		n.Counted(CountLogNoThumbprint)
	}
}

// noteListed notes whether a reading showed the new certificate, and how long after
// its upload.
func (t *turn) noteListed(present bool) {
	since, ok := t.sinceUpload()
	n := t.notes()
	switch {
	case !ok || n.Listed >= steadyReads:
	case !present:
		if n.Listed > 1 {
			n.Listed = 1 // the first one was noted
		}
	default:
		n.Listed++
		switch n.Listed {
		case 1:
			n.Took(SpanListed, since)
		case steadyReads:
			n.Took(SpanListedSteady, since)
		}
	}
}

// noteSignIn notes whether a sign-in with the new certificate was accepted.
func (t *turn) noteSignIn(accepted bool) {
	since, ok := t.sinceUpload()
	n := t.notes()
	switch {
	case !ok:
	case !accepted && n.SignedIn:
		n.Counted(CountSignInMiss)
	case accepted && !n.SignedIn:
		n.SignedIn = true
		n.Took(SpanSignIn, since)
	}
}

// noteSignInTo notes that the first n of the further audiences accepted the new
// certificate.
func (t *turn) noteSignInTo(n int) {
	if since, ok := t.sinceUpload(); ok && n > t.notes().SignedInTo {
		t.notes().SignedInTo = n
		t.notes().Took(SpanSignInOther, since)
	}
}

// noteRemoval notes what removeKey answered to a proof by the new certificate.
func (t *turn) noteRemoval(signer Thumbprint, c Thumbprint, err error) {
	n := t.notes()
	reason := reasonOf(err)
	switch {
	case err == nil:
		n.Counted(CountRemoveDone)
	case reason == ReasonNoSuchKey:
		n.Counted(CountRemoveNotFound)
	case reason == ReasonBadProof:
		n.Counted(CountRemoveBadProof)
	case failureOf(err).Ambiguous || reason == ReasonNetwork:
		return
	default:
		n.Counted(CountRemoveRefused)
	}
	since, ok := t.sinceUpload()
	if signer == c {
		if reason == ReasonBadProof {
			n.Counted(CountRemoveSelfRefused)
		} else if err == nil {
			n.Counted(CountRemoveSelfDone)
		}
		return
	}
	if !ok || n.Signed || signer != t.rot.New.ThumbprintSHA256 {
		return
	}
	n.Unsigned = n.Unsigned || reason == ReasonBadProof
	if n.Signed = err == nil; n.Signed && n.Unsigned {
		// A first proof hours after the upload that is accepted measures nothing.
		n.Took(SpanProof, since)
	}
}

// Facts returns what is known of a tenant of the configuration.
func (r *Rotator) Facts(ctx context.Context, tenant string) (TenantFacts, error) {
	if _, err := r.settings().Entra.Hosts(tenant); err != nil {
		return TenantFacts{}, fmt.Errorf("tenant %s: %w", tenant, err)
	}
	state, err := r.Store.Tenant(ctx, tenant)
	if err != nil {
		return TenantFacts{}, err
	}
	return *state.Facts.clone(), nil
}
