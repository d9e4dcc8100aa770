// Package control is the daemon's API: HTTP and JSON on a unix socket, with the
// wire types, the [Server] and the [Client] of it.
//
// Every command speaks it. Where no daemon runs, the command serves the same
// handler to itself in memory ([Server.Transport]), so that there is one code
// path.
//
//	GET    /v1/status?app=NAME…            Status
//	GET    /v1/apps                        Apps
//	POST   /v1/apps                        AppSpec → Added
//	GET    /v1/apps/{name}                 App
//	PATCH  /v1/apps/{name}                 Edit → Edited
//	DELETE /v1/apps/{name}?purge&abandon   Removed
//	POST   /v1/apps/{name}/test            Tested
//	POST   /v1/apps/{name}/rotations       StartRequest → 202, Rotation
//	POST   /v1/apps/{name}/confirm         ConfirmRequest → Rotation
//	POST   /v1/apps/{name}/rollback        Rotation
//	POST   /v1/rotations/due               202, Started
//	GET    /v1/rotations/{id}              Rotation
//	GET    /v1/rotations/{id}/events       one Rotation a line, until it ended; with ?removals, until
//	                                       its removals are confirmed, too
//	POST   /v1/apply                       ApplyRequest → Applied
//	POST   /v1/check                       CheckReport
//	GET    /v1/plan                        Plan
//	GET    /v1/history?app=NAME&limit=N    History
//	POST   /v1/pause                       PauseRequest → 204
//	POST   /v1/resume                      ResumeRequest → Resumed
//	POST   /v1/reload                      204
//	POST   /v1/tenants/{name}/rebind       204
//	POST   /v1/apps/{name}/export          ExportRequest → Exported
//	POST   /v1/backup                      BackupRequest → an age file
//	POST   /v1/backup/done                 BackupNote → 204
//	GET    /v1/store/check                 StoreReport
//	GET    /v1/audit?app=NAME&since=TIME   one AuditLine a line, then {"end": true}
//	GET    /v1/audit/proof?expect=SHA256   AuditProof
//	GET    /v1/report?year=YEAR            Report
//
// Times are RFC 3339 in UTC, durations Go syntax plus "d". Requests carry the
// bytes of files, never paths to read. No answer holds a secret, but
// those to export and handoff/package. Refusals are
// {"error": Error}.
//
// The kernel tells who connects. Served are root, the user that the daemon runs
// as, and members of the two groups of [Access]; a refusal names the group.
package control

// Body limits in bytes.
const (
	maxBodyBytes  = 64 << 10
	maxAddBytes   = 4 << 20
	maxApplyBytes = 256 << 20
	maxErrorBytes = 1 << 20
)
