package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecoveryDrill does what docs/recovery.md says: each section begins with a
// host that has a tracked app, a recovery key and a backup.
func TestRecoveryDrill(t *testing.T) {
	document := filepath.Join("..", "..", "docs", "recovery.md")
	headings := map[int]string{}
	for i, line := range strings.Split(string(must1(os.ReadFile(document))(t)), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			headings[i+1] = name
		}
	}
	sections := map[string][]block{}
	for _, b := range readBlocks(t, document) {
		switch b.info {
		case "console":
			name := ""
			for line := b.line; name == "" && line > 0; line-- {
				name = headings[line]
			}
			sections[name] = append(sections[name], b)
		case "sh not-run", "sh azure-cli":
			b.lookAt(t)
		default:
			t.Errorf("%s:%d: no rule for a block of %q", document, b.line, b.info)
		}
	}
	if len(sections) != len(headings) {
		t.Errorf("%d of %d sections have commands", len(sections), len(headings))
	}
	for name, blocks := range sections {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader(t)
			r.keep(t, step{command: "rotate emulator --dir tenant", want: []string{"This is an emulator: ...", "..."}})
			for _, command := range []string{
				`until test -f tenant/ready.json; do sleep 0.1; done`,
				`ready() { grep -o "\"$1\":\"[^\"]*\"" tenant/ready.json | sed -n "${2:-1}p" | cut -d '"' -f 4; }`,
				`cat >config.yaml <<EOF
allow_root: true
store: {path: data/rotate.db, identity_file: keys/store.key}
control: {socket: rotate.sock}
defaults:
  overlap: 0s
  reload_within: 0s
  prove: {successes: 2, spacing: 200ms, within: 5m}
  upload_limit: {per_hour: 100, per_day: 100}
tenants:
  - name: contoso
    id: "$(ready tenant_id)"
    cloud: {login: "$(ready login)", graph: "$(ready graph)", ca_file: tenant/ca.pem, removal: {reads: 1s, sign_ins: 2s, young: 2s}}
    identity: {client_id: "$(ready client_id)", client_secret_file: "$(ready client_secret_file)"}
EOF`,
				`export ROTATE_CONFIG=$PWD/config.yaml`,
				// A key of age; age-keygen makes the same file.
				`echo 'store: {path: spare/rotate.db, identity_file: recovery.key}' >spare.yaml`,
				`rotate -c spare.yaml init --no-recovery && rm -r spare spare.yaml`,
				`rotate init --recovery "$(sed -n 's/# public key: //p' recovery.key)"`,
				`mkdir -m 0750 consumer`,
				`rotate app add app-1 --tenant contoso --client-id "$(ready client_id 2)" --pfx tenant/app-1.pfx --password-file tenant/app-1.password --deliver-file consumer/app-1.pfx`,
				`rotate backup backup.age`,
			} {
				r.check(t, step{command: command})
			}
			for _, b := range blocks {
				r.do(t, b)
			}
			r.end(t)
		})
	}
}
