package simulation

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

var errDeath = errors.New("the process died")

// host is where the program runs. It dies, and its disk fills, at effects: writes of
// the store, requests that change something, deliveries.
type host struct {
	w        *world
	dead     bool
	dieIn    int // effects from now; 0: it does not
	after    bool
	diskFull bool
	off      time.Duration // of its clock
	downTill time.Time
	store    *memory
	program  *rotator.Rotator
}

func (h *host) now() time.Time { return h.w.now.Add(h.off) }

func (h *host) gone() error {
	if h.dead {
		return errDeath
	}
	return nil
}

func (h *host) effect(what string, do func() error) error {
	if h.dead {
		return errDeath
	}
	if h.dieIn > 0 {
		if h.dieIn--; h.dieIn == 0 {
			if h.after {
				_ = do() // whatever its answer was, nobody hears it
			}
			h.dead = true
			h.w.note("the process dies at %s, after it: %v", what, h.after)
			return errDeath
		}
	}
	return do()
}

// key stands for every private key: identities stand for signatures here.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// certificate is one pair, as the world knows it.
type certificate struct {
	name                string // N1, N2, …: in the order in which they were made
	der                 []byte
	thumbprint          rotator.Thumbprint
	sha1                string
	notBefore, notAfter time.Time
	foreign             bool
	app                 string // for which the program made it
	// givenUp is since when a person calls it compromised; cut that its removal may lock
	// out; told that a person asked for the removal of this foreign one.
	givenUp time.Time
	// perhaps tells that the process died when a person said so: it may have been noted.
	perhaps   bool
	cut, told bool
	// forgotten tells that the app was tracked anew since.
	forgotten bool
	// back is when it was on the app again after a removal by anybody else than rotate.
	back time.Time
}

// template is the DER of a certificate whose serial number and dates are replaced.
var template = sync.OnceValue(func() []byte {
	serial, _ := new(big.Int).SetString("71717171717171717171717171717171", 16)
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "simulated"}, SignatureAlgorithm: x509.SHA256WithRSA,
		NotBefore: time.Date(2001, 1, 1, 1, 1, 1, 0, time.UTC), NotAfter: time.Date(2002, 2, 2, 2, 2, 2, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key().PublicKey, key())
	if err != nil {
		panic(err)
	}
	return der
})

// newCertificate makes a pair and tells it apart by its serial number.
func (w *world) newCertificate(notBefore, notAfter time.Time) *certificate {
	const form = "060102150405Z"
	notBefore, notAfter = notBefore.UTC().Truncate(time.Second), notAfter.UTC().Truncate(time.Second)
	der := bytes.Clone(template())
	serial := bytes.Repeat([]byte{0x71}, 16)
	number := binary.BigEndian.AppendUint64(bytes.Repeat([]byte{0x71}, 8), uint64(len(w.certificates))+1)
	der = bytes.Replace(der, serial, number, 1)
	der = bytes.Replace(der, []byte("010101010101Z"), []byte(notBefore.Format(form)), 1)
	der = bytes.Replace(der, []byte("020202020202Z"), []byte(notAfter.Format(form)), 1)
	c := &certificate{
		name: fmt.Sprintf("N%d", len(w.certificates)+1), der: der, thumbprint: rotator.ThumbprintOf(der), sha1: rotator.ThumbprintSHA1(der),
		notBefore: notBefore, notAfter: notAfter,
	}
	w.certificates[c.thumbprint] = c
	return c
}

func (w *world) byDER(der []byte) *certificate { return w.certificates[rotator.ThumbprintOf(der)] }

func (w *world) certificateOf(p rotator.KeyPair) *certificate { return w.byDER(p.Certificate) }

// encoder makes files that name their pair and password.
type encoder struct{ w *world }

func (e encoder) Encode(_ string, _ *rsa.PrivateKey, der []byte, _ [][]byte, password, _ string) ([]byte, error) {
	return []byte("file " + string(rotator.ThumbprintOf(der)) + " " + password), nil
}

func (e encoder) Decode(data []byte, password string) (rotator.KeyPair, error) {
	parts := strings.SplitN(string(data), " ", 3)
	if len(parts) != 3 || parts[2] != password {
		return rotator.KeyPair{}, rotator.ErrWrongPassword
	}
	return rotator.KeyPair{Key: key(), Certificate: e.w.certificates[rotator.Thumbprint(parts[1])].der}, nil
}

func (e encoder) NewPassword() (string, error) { return "a new password", nil }

// target is what a delivery writes or runs.
type target struct {
	kind     string
	cert     *certificate
	password string
	// writes counts how often it was written, by anybody.
	writes int
	// readers are consumers that read it.
	readers []*consumer
}

// deliverer brings pairs to targets.
type deliverer struct{ w *world }

func (d deliverer) Check(context.Context, rotator.Delivery) error { return d.w.host.gone() }

func (d deliverer) Deliver(_ context.Context, to rotator.Delivery, p rotator.Package) error {
	return d.w.host.effect("deliver", func() error {
		c := d.w.certificateOf(p.Pair)
		if to.Kind == rotator.DeliverHandOff {
			return nil
		}
		t := d.w.target(to)
		if to.Kind == rotator.DeliverFile {
			switch {
			case d.w.host.diskFull:
				return &rotator.Failure{Class: rotator.ClassFix, Reason: rotator.ReasonOther, Message: "no space left on device", Next: "make room"}
			case t.cert != nil && !to.Replace && !slices.Contains(p.Known, t.cert.thumbprint):
				return &rotator.Failure{Class: rotator.ClassFix, Reason: rotator.ReasonOther, Message: "the target contains something else", Next: "look"}
			case t.cert == c && t.password == p.Pair.Password:
				return nil
			}
		}
		d.w.note("%s: %s gets %s", p.App, to.Name(), c.name)
		d.w.judgeDelivery(p, c)
		d.w.write(t, c, p.Pair.Password)
		return nil
	})
}

func (d deliverer) Holds(_ context.Context, to rotator.Delivery, _ []string) (rotator.Target, error) {
	if d.w.host.dead {
		return rotator.Target{}, errDeath
	}
	if to.Kind != rotator.DeliverFile {
		return rotator.Target{}, rotator.ErrCannotTell
	}
	t := d.w.target(to)
	if t.cert == nil {
		return rotator.Target{}, nil
	}
	return rotator.Target{Thumbprint: t.cert.thumbprint, File: strconv.Itoa(t.writes)}, nil
}

func (d deliverer) Confirm(_ context.Context, _ string, p rotator.Package) error {
	if d.w.host.dead {
		return errDeath
	}
	for _, c := range d.w.consumersOf(p.App) {
		if c.holds != d.w.certificateOf(p.Pair) {
			return &rotator.Failure{Class: rotator.ClassWait, Reason: rotator.ReasonOther, Message: "not yet"}
		}
	}
	return nil
}

// randomness is the program's, from the seed.
type randomness struct{ w *world }

func (r randomness) Read(b []byte) (int, error) {
	chance := r.w.chance("program")
	for i := range b {
		b[i] = byte(chance.Uint32())
	}
	return len(b), nil
}

// boot starts the program on the store as it is.
func (h *host) boot() {
	h.dead, h.dieIn = false, 0
	h.program = &rotator.Rotator{
		Store: h.store, Entra: h.w.tenant, Deliverer: deliverer{h.w}, Encoder: encoder{h.w}, Now: h.now, Random: randomness{h.w},
		Schedule: daily{}, ParseSchedule: func(string, string) (rotator.Schedule, error) { return daily{}, nil },
		GenerateKey: func(int) (*rsa.PrivateKey, error) { return key(), nil },
		Simulated: &rotator.Simulated{
			Without: h.w.without,
			Certificate: func(app string, notBefore, notAfter time.Time) ([]byte, error) {
				c := h.w.newCertificate(notBefore, notAfter)
				c.app = app
				return c.der, nil
			},
		},
	}
	h.w.wake = h.w.now
}

type daily struct{}

func (daily) Next(t time.Time) time.Time { return t.Add(24 * time.Hour) }
