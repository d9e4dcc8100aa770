package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// HandOffText tells a person how to bring a key pair to a consumer.
type HandOffText struct {
	// Consumer is the name of the program or service; empty: not said.
	Consumer string `json:"consumer,omitempty"`
	// Steps in order. {app}, {file}, {code}, {client_id} and {tenant_id} stand for
	// those of the app. Empty: the general ones.
	Steps []string `json:"steps,omitempty"`
}

// HandOver is one key pair that a person fetched.
type HandOver struct {
	Thumbprint Thumbprint `json:"thumbprint"`
	// At and By are of the first time.
	At time.Time `json:"at"`
	By string    `json:"by"`
	// Shown counts how often its password was shown.
	Shown int `json:"shown,omitempty"`
}

// HandOff is what a person needs to know to bring a pair to its consumer. It
// holds no secret.
type HandOff struct {
	App      App
	Rotation Rotation
	// Credential describes the pair: the new one, or the previous one of a
	// rotation that rolls back.
	Credential Credential
	// Deadline is the last date on which the old certificate still leaves the
	// overlap; zero: nothing is in danger.
	Deadline time.Time
	// Encoding of the file where nothing else is asked for.
	Encoding string
	// Fetched is nil while nobody has fetched the pair.
	Fetched *HandOver
	// Confirmed tells that the consumer uses it already.
	Confirmed bool
}

// HandOverRequest asks for the pair itself.
type HandOverRequest struct {
	// Encoding of the file; empty: the policy's.
	Encoding string
	// Again shows the password once more.
	Again bool
}

// HandedOver is the pair itself, for the one answer that carries it.
type HandedOver struct {
	HandOff
	// PFX is the file for the consumer, Certificate the DER of its public half.
	PFX, Certificate []byte
	// Password of the file; empty if it was shown before and Again was not said.
	Password string
}

// String names the app and shows nothing else.
func (h HandedOver) String() string { return "hand-off of app " + h.App.Name }

// GoString is [HandedOver.String].
func (h HandedOver) GoString() string { return h.String() }

// HandOff tells what waits to be handed to a person. [ErrRefused] if nothing
// does, with the reason.
func (r *Rotator) HandOff(ctx context.Context, name string) (HandOff, error) {
	t, err := r.openFor(ctx, name, "hand over")
	if err != nil {
		return HandOff{}, err
	}
	return t.handOff()
}

// handOff tells what of this rotation a person brings to the consumer.
func (t *turn) handOff() (HandOff, error) {
	name := t.app.Name
	if !t.app.handsOff() {
		return HandOff{}, refusedf("app %s: it has no delivery of the kind handoff, so nobody is asked to carry its keys; \"rotate app show %s\" shows its deliveries", name, name)
	}
	h := HandOff{App: t.app, Rotation: t.rot, Credential: t.rot.New, Encoding: t.policy.Encoding}
	for _, d := range t.app.Deliveries {
		if d.Kind == DeliverHandOff && d.Encoding != "" {
			h.Encoding = d.Encoding
		}
	}
	switch t.rot.Phase {
	case PhaseDelivered:
		if t.rot.Old != nil {
			h.Deadline = lastSafeDate(t.rot.Old.NotAfter, t.policy)
		}
	case PhaseConfirmed:
		h.Confirmed = true
	case PhaseRollingBack:
		if t.rot.Old == nil || t.rot.Back.Delivered.IsZero() {
			return HandOff{}, refusedf("app %s: the rotation rolls back, and the previous certificate is not ready to be handed over yet", name)
		}
		h.Credential, h.Confirmed = *t.rot.Old, !t.rot.Back.Confirmed.IsZero()
	case PhasePlanned, PhaseUploaded, PhaseProven:
		return HandOff{}, refusedf("app %s: the new certificate is not ready to be handed over: the rotation is %s, and only a proven pair leaves the store", name, t.rot.Phase)
	case PhaseRetired, PhaseRolledBack:
		return HandOff{}, refusedf("app %s: the rotation has ended", name)
	}
	if !t.rot.Missing.IsZero() && h.Credential.ThumbprintSHA256 == t.rot.New.ThumbprintSHA256 {
		return HandOff{}, refusedf("app %s: the new certificate is gone from Entra, so there is nothing to hand over; to upload it again: rotate now %s --force", name, name)
	}
	for i, o := range t.rot.HandOvers {
		if o.Thumbprint == h.Credential.ThumbprintSHA256 {
			h.Fetched = &t.rot.HandOvers[i]
		}
	}
	return h, nil
}

// HandOver gives the pair that waits to a person. That it was given is durable
// before the answer leaves: an answer that is lost is asked for again. The
// password comes with the first answer only, later with Again.
func (r *Rotator) HandOver(ctx context.Context, name string, req HandOverRequest, by string) (HandedOver, error) {
	release, err := r.claim(ctx, name)
	if err != nil {
		return HandedOver{}, err
	}
	defer release()
	t, err := r.openFor(ctx, name, "hand over")
	if err != nil {
		return HandedOver{}, err
	}
	h, err := t.handOff()
	if err != nil {
		return HandedOver{}, err
	}
	pair, err := t.pair(ctx, &h.Credential)
	if err != nil {
		return HandedOver{}, err
	}
	given := HandedOver{Certificate: pair.Certificate}
	if req.Encoding == "" {
		req.Encoding = h.Encoding
	}
	if given.PFX = pair.Encoded[req.Encoding]; len(given.PFX) == 0 {
		if given.PFX, err = r.Encoder.Encode(req.Encoding, pair.Key, pair.Certificate, pair.Chain, pair.Password, pair.FriendlyName); err != nil {
			return HandedOver{}, usagef("app %s: encode the pair as %q: %v", name, req.Encoding, err)
		}
		// These bytes were not proven with the others.
		opened, err := r.Encoder.Decode(given.PFX, pair.Password)
		if err != nil || opened.Thumbprint() != h.Credential.ThumbprintSHA256 {
			return HandedOver{}, fmt.Errorf("app %s: the pair encoded as %q does not open again: %w", name, req.Encoding, err)
		}
	}
	show := h.Fetched == nil || h.Fetched.Shown == 0 || req.Again
	if show {
		given.Password = pair.Password
	}
	now := r.now().UTC()
	err = t.record(ctx, "", func(rec *Records) {
		what := "hand-off fetched"
		i := slices.IndexFunc(rec.Rotation.HandOvers, func(o HandOver) bool { return o.Thumbprint == h.Credential.ThumbprintSHA256 })
		list := slices.Clone(rec.Rotation.HandOvers)
		if i < 0 {
			i = len(list)
			list = append(list, HandOver{Thumbprint: h.Credential.ThumbprintSHA256, At: now, By: by})
		} else if show {
			what = "hand-off fetched and its password shown again"
		}
		if show {
			list[i].Shown++
		}
		rec.Rotation.HandOvers = list
		rec.App.eachConsumer(func(c *Consumer) {
			c.announce(h.Credential.ThumbprintSHA256)
			if c.byWord() {
				c.mayHold(h.Credential.ThumbprintSHA256)
			}
		})
		rec.Audit = append(rec.Audit, AuditEntry{
			At: now, By: by, What: what, App: name, Rotation: rec.Rotation.ID, Thumbprint: h.Credential.ThumbprintSHA256,
			Note: "encoding " + req.Encoding,
		})
		rec.Events = append(rec.Events, r.takenEvent(rec.App, rec.Rotation, &h.Credential, by, what))
	})
	if err != nil {
		return HandedOver{}, err
	}
	if given.HandOff, err = t.handOff(); err != nil {
		return HandedOver{}, errors.Join(fmt.Errorf("app %s: the pair was recorded as handed over", name), err)
	}
	given.Encoding = req.Encoding
	return given, nil
}

// mayHave reports whether a consumer can hold the pair at all: not while the only way
// to it is a person who has not fetched it.
func (t *turn) mayHave(pair Thumbprint) bool { return t.ledger().isHeld(pair) }

// NextStep says what the person does that the rotation waits for; empty: it waits
// for nobody.
func (rot *Rotation) NextStep() string {
	if rot.WaitingFor != WaitingPerson {
		return ""
	}
	which, asked := "new", rot.New.ThumbprintSHA256
	fetched := func(pair Thumbprint) bool {
		return slices.ContainsFunc(rot.HandOvers, func(o HandOver) bool { return o.Thumbprint == pair })
	}
	back := rot.Phase == PhaseRollingBack && rot.Old != nil
	if back {
		which, asked = "previous", rot.Old.ThumbprintSHA256
	}
	elsewhere := func(d DeliveryResult) bool { return d.Name != string(DeliverHandOff) }
	if !fetched(asked) && len(rot.Deliveries) > 0 && !slices.ContainsFunc(rot.Deliveries, elsewhere) && (!back || fetched(rot.New.ThumbprintSHA256)) {
		return "fetch the " + which + " pair for the consumer: rotate handoff " + rot.App + " --out DIR"
	}
	return "when the consumer uses the " + which + " file, type  rotate confirm " + rot.App +
		fmt.Sprintf(" CODE  with the first %d digits of the thumbprint it shows", codeDigits)
}

// askPerson announces a pair that waits for a person, in the transaction that
// makes it wait.
func (t *turn) askPerson(rec *Records, c *Credential) {
	if c == nil || t.rule() != ConfirmPerson && !t.app.handsOff() {
		return
	}
	rec.App.eachConsumer(func(other *Consumer) { other.announce(c.ThumbprintSHA256) })
	consumer := t.app.HandOff.Consumer
	if consumer == "" {
		consumer = "its consumer"
	}
	summary := fmt.Sprintf("the certificate %s (until %s) was delivered and waits for somebody to confirm that %s uses it", c.ThumbprintSHA1, c.NotAfter.Format(time.DateOnly), consumer)
	next := fmt.Sprintf("see that %s uses it, then: rotate confirm %s CODE", consumer, t.app.Name)
	if t.app.handsOff() {
		summary = fmt.Sprintf("the certificate %s (until %s) waits to be brought to %s by hand", c.ThumbprintSHA1, c.NotAfter.Format(time.DateOnly), consumer)
		next = fmt.Sprintf("\"rotate handoff %s\" shows the steps; when %s uses it: rotate confirm %s CODE", t.app.Name, consumer, t.app.Name)
	}
	if old := t.rot.Old; old != nil && c.ThumbprintSHA256 == t.rot.New.ThumbprintSHA256 {
		summary += fmt.Sprintf("; the one in use ends on %s, so that should be done before %s",
			old.NotAfter.Format(time.DateOnly), lastSafeDate(old.NotAfter, t.policy).Format(time.DateOnly))
	}
	rec.Events = append(rec.Events, t.event(EventHandOffReady, SeverityWarning, summary, next))
}
