package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/control"
)

// What people and other programs can put into a record must stay text.
func TestReportEscapes(t *testing.T) {
	const hostile = `"><script>alert('x')</script>&`
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	text := hostile
	line := control.AuditLine{Number: 1, At: at, By: hostile, What: hostile, App: hostile, Result: hostile, Note: hostile, RotationID: hostile}
	certificate := &control.Credential{ThumbprintSHA1: hostile, ThumbprintSHA256: hostile}
	page := reportHTML(control.Report{
		Year: 2026, From: at, To: at.AddDate(1, 0, 0), MadeAt: at, StoreID: hostile,
		Changes: []control.AuditLine{line}, Audit: control.AuditProof{Lines: 1, SHA256: hostile},
		Apps: []control.ReportApp{{
			Name: hostile, ClientID: hostile, Owner: hostile, Certificate: certificate, HeldUp: []control.AuditLine{line},
			Rotations: []control.Rotation{{
				ID: hostile, By: hostile, Phase: hostile, PhaseAt: map[string]time.Time{hostile: at}, Proofs: 1,
				Old: certificate, New: certificate, Confirmation: &text, ConfirmedBy: hostile, EndedAt: &at, Outcome: hostile,
				Warnings:   []string{hostile},
				Deliveries: []control.DeliveryResult{{Name: hostile, ThumbprintSHA256: &text, At: &at, Error: &text}},
			}},
		}},
	})
	if strings.Contains(page, "<script") || strings.Contains(page, "alert('x')") {
		t.Errorf("the page holds a script:\n%s", page)
	}
	if n := strings.Count(page, "&lt;script&gt;"); n < 20 {
		t.Errorf("the page shows %d of the hostile texts", n)
	}
	for _, external := range []string{"http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(page, external) {
			t.Errorf("the page asks for something else: %s", external)
		}
	}
}
