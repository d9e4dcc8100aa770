package notify

import (
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Sample is a message with a made-up event of the kind, as "rotate notify show"
// and docs/alerts.md show it; false for a kind that does not exist.
func Sample(kind rotator.EventKind) (Message, bool) {
	at := time.Date(2026, time.March, 2, 6, 17, 0, 0, time.UTC)
	old := rotator.Credential{
		KeyID: "7f0c2d1e-5a47-4f0e-9a55-3c1d8b6a9e10", ThumbprintSHA1: "3A6F0B8B1C0E4D5F9A7B2C3D4E5F60718293A4B5",
		ThumbprintSHA256: "9f2c4e6a8b0d1f3e5a7c9e0b2d4f6a8c0e1d3f5b7a9c0e2d4f6b8a0c1e3d5f7b",
		NotBefore:        time.Date(2025, time.March, 16, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, time.March, 16, 0, 0, 0, 0, time.UTC),
	}
	fresh := rotator.Credential{
		KeyID: "c1b5a0d2-93b1-4b0a-8c3f-0d9e7f6a5b44", ThumbprintSHA1: "B5A49382716F5E4D3C2B1A0F9E8D7C6B5A4F3E2D",
		ThumbprintSHA256: "1e3d5f7b9a0c2e4d6f8b0a1c3e5d7f9b1a2c4e6d8f0b1a3c5e7d9f1b2a4c6e8d",
		NotBefore:        at, NotAfter: at.Add(365 * 24 * time.Hour),
	}
	e := rotator.Event{
		ID: "5f0f3a52-6f5e-4a0e-8f77-0d6c2f1b9a01", Kind: kind, Severity: rotator.SeverityWarning, App: "contoso-sync", Tenant: "contoso",
		At: at, Tags: []string{"backup"}, Owner: "backup-team@contoso.example",
	}
	rotation := func() { e.Rotation, e.Old, e.New = "k7m2q4x6za", &old, &fresh }
	ends := func() { e.Old, e.NotAfter, e.Days = &old, old.NotAfter, new(13) }
	whole := func() { e.App, e.Tenant, e.Tags, e.Owner = "", "", nil, "" }
	switch kind {
	case rotator.EventExpiring:
		ends()
		e.Stage = "14d"
		e.Summary = "the certificate 3A6F0B8B1C0E4D5F9A7B2C3D4E5F60718293A4B5 ends on 2026-03-16, in 13 days, and nothing has replaced it: nothing starts unasked until \"rotate resume --all\""
		e.Next = "look at \"rotate status contoso-sync\", then: rotate now contoso-sync"
	case rotator.EventRotationStarted:
		rotation()
		e.Severity, e.Summary = rotator.SeverityInfo, "a rotation started"
	case rotator.EventRotated:
		rotation()
		e.Severity, e.Summary = rotator.SeverityInfo, "the certificate was replaced; the new one is valid until 2027-03-02"
	case rotator.EventRotationFailed:
		rotation()
		ends()
		e.Summary = "app contoso-sync: add certificate: graph: 403 Authorization_RequestDenied: Insufficient privileges to complete the operation."
		e.Next = "make the tenant's identity an owner of the app, or use \"rotate app edit contoso-sync --mode self\""
	case rotator.EventRolledBack:
		rotation()
		e.Summary = "rolled back: the previous certificate is in service"
	case rotator.EventHandOffReady:
		rotation()
		ends()
		e.Summary = "the certificate B5A49382716F5E4D3C2B1A0F9E8D7C6B5A4F3E2D (until 2027-03-02) waits to be brought to CloudM by hand; the one in use ends on 2026-03-16, so that should be done before 2026-03-02"
		e.Next = "\"rotate handoff contoso-sync\" shows the steps; when CloudM uses it: rotate confirm contoso-sync CODE"
	case rotator.EventHandOffOverdue:
		rotation()
		ends()
		e.Severity = rotator.SeverityCritical
		e.Summary = "nobody has confirmed that the new certificate is in use, and the one in service ends on 2026-03-16"
		e.Next = "bring the new pair to the consumer, then: rotate confirm contoso-sync CODE"
	case rotator.EventForeignCredential:
		e.Summary = "app contoso-sync: somebody added the secret 0d2b6a0e-1f7c-4b7e-9d55-7a3c1e9f2b60 (\"test\"), which rotate did not make"
		e.Next = "if nobody knows it, remove it in the Entra portal: it is a way to keep access"
	case rotator.EventCertificateMissing:
		rotation()
		ends()
		e.Severity = rotator.SeverityCritical
		e.Summary = "app contoso-sync: the new certificate B5A49382716F5E4D3C2B1A0F9E8D7C6B5A4F3E2D is gone from Entra although it was delivered; nothing is retired"
		e.Next = "find out who removed it; to upload it again: rotate now contoso-sync --force; to go back: rotate rollback contoso-sync"
	case rotator.EventRenewalAtRisk:
		e.Old, e.NotAfter = &old, old.NotAfter
		e.Summary = "app contoso-sync: the next renewal: the tenant's default app management policy allows certificates for 30 days, and validity is 365 days"
		e.Next = "rotate app edit contoso-sync --validity 30d"
	case rotator.EventNoDelivery:
		e.Old, e.NotAfter = &old, old.NotAfter
		e.Summary = "app contoso-sync is not rotated: it has no delivery, so its consumer would never get the new key"
		e.Next = "say where its consumer reads the key: rotate app edit contoso-sync --deliver-file PATH"
	case rotator.EventOldCertificateInUse:
		rotation()
		ends()
		e.Summary = "the consumer still uses the old certificate, last at 2026-03-02T04:11:09Z"
		e.Next = "bring the new one to the consumer; the old one stays until it was unused for 14d, or until its end on 2026-03-16. If the consumer has changed meanwhile: rotate confirm contoso-sync CODE"
	case rotator.EventRemovalUnconfirmed:
		rotation()
		e.Severity = rotator.SeverityCritical
		e.Summary = "the compromised certificate 5B1E0F9D8C7B6A5948372615F4E3D2C1B0A99887 may still be accepted: its removal was sent 3 times and it is still on the app"
		e.Next = "check it, and remove it there if it is listed: Entra admin centre > App registrations > All applications > 5f0c1a2b-3d4e-4f60-8a7b-9c0d1e2f3a4b > Certificates & secrets > Certificates: thumbprint 5B1E0F9D8C7B6A5948372615F4E3D2C1B0A99887"
	case rotator.EventRemoved:
		rotation()
		e.Severity = rotator.SeverityInfo
		e.Summary = "the certificate 5B1E0F9D8C7B6A5948372615F4E3D2C1B0A99887 was removed: 5 reads over 10m4s do not list it, and 3 sign-ins with it over 10m2s were refused"
	case rotator.EventKeyIDUnknown:
		rotation()
		e.Summary = "the upload was not answered and the app is not allowed to read its list, so the key ID of the new certificate B5A49382716F5E4D3C2B1A0F9E8D7C6B5A4F3E2D is not known; the rotation continues"
		e.Next = "read it in the Entra admin centre (Entra ID, App registrations, All applications, contoso-sync with client ID 11111111-2222-3333-4444-555555555555, Certificates & secrets, Certificates: \"Certificate ID\" of the entry with thumbprint B5A49382716F5E4D3C2B1A0F9E8D7C6B5A4F3E2D), then: rotate app edit contoso-sync --key-id KEYID"
	case rotator.EventTenantFactChanged:
		e.Summary = "tenant contoso: sign in after was 7s when it was verified on 2026-01-12, and is 4m10s now; the fact is not used any more"
		e.Next = "rotate tenant verify contoso"
	case rotator.EventInspectionOverdue:
		whole()
		e.Summary = "tenant contoso was last inspected on 2026-02-27 04:41 UTC, so credentials that appeared since are not noticed: tenant contoso: it was not read to its end within 4h0m0s"
		e.Next = "find out why the tenant does not answer: rotate discover --tenant contoso"
	case rotator.EventKeysTaken:
		e.Summary = "alice (uid 1000) took the private key of contoso-sync (key pair exported; certificate 3A6F0B8B1C0E4D5F9A7B2C3D4E5F60718293A4B5)"
		e.Next = "if no administrator expected that, replace the key: rotate now contoso-sync --compromised current"
	case rotator.EventRecovered:
		ends()
		e.Severity, e.Summary = rotator.SeverityInfo, "the rotation works again; it had failed since 2026-03-01 22:17 UTC"
	case rotator.EventStopped:
		whole()
		e.Severity = rotator.SeverityCritical
		e.Summary = "3 apps in a row failed after their upload (contoso-backup, contoso-mail, contoso-sync): nothing starts unasked until \"rotate resume --all\""
		e.Next = "look at these apps with \"rotate status\", then type \"rotate resume --all\""
	case rotator.EventChannelFailing:
		whole()
		e.Channel = "admins"
		e.Summary = "the channel admins has not taken messages since 2026-03-02T05:47:00Z: connect: connection refused"
		e.Next = "mend it, then: rotate notify test admins"
	case rotator.EventStoreFailing:
		whole()
		e.Severity = rotator.SeverityCritical
		e.Summary = "the store cannot be written, so nothing is changed in Entra: store /var/lib/rotate/rotate.db: write: no space left on device"
		e.Next = "see whether the disk is full or read-only; everything goes on by itself afterwards"
	case rotator.EventTest:
		whole()
		e.Severity = rotator.SeverityInfo
		e.Summary = "this is a test of the channel admins, asked for by root"
		e.Next = "nothing is to be done"
	default:
		return Message{}, false
	}
	return Message{ID: "9a1c0f5e2b7d4c6e8f0a1b2c3d4e5f60", At: at, Events: []rotator.Event{e}}, true
}

// Show returns what channels make of a message: the subject of a mail, and the JSON
// that webhooks and programs get.
func Show(m Message) (subjectLine string, body []byte, err error) {
	body, err = payload(m)
	return subject(m), body, err
}
