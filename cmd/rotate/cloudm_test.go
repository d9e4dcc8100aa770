package main_test

import (
	"path/filepath"
	"testing"
)

// TestCloudMDocument does what docs/cloudm-continuity.md tells its reader to do, from
// an empty tenant to the renewal. How blocks are read is told at [TestReadme].
func TestCloudMDocument(t *testing.T) {
	blocks := readBlocks(t, filepath.Join("..", "..", "docs", "cloudm-continuity.md"))
	if len(blocks) < 5 {
		t.Fatalf("the document has %d blocks; is it read well?", len(blocks))
	}
	r := newReader(t)
	for _, b := range blocks {
		switch b.info {
		case "console", "console keeps-running":
			r.do(t, b)
		default:
			t.Errorf("line %d: no rule for a block of %q", b.line, b.info)
		}
	}
	r.end(t)
}
