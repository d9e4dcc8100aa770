package deliver

import (
	"path/filepath"
	"strings"
)

// permit refuses targets that the service itself or its configuration uses, and those
// outside of the folders that root lists: whoever may add an app is not meant to replace
// the store, a secret, or the configuration of another program. path has no symbolic
// link before its last part.
func (d *Deliverer) permit(path string) error {
	for _, own := range append(d.Own, d.RuntimeDir) {
		if own == "" {
			continue
		}
		begin, isBegin := strings.CutSuffix(own, "*")
		begin = actual(begin)
		if path == begin || strings.HasPrefix(path, begin+"/") || isBegin && strings.HasPrefix(path, begin) {
			return fixf("choose another path", "%s is used by rotate itself or named in its configuration, so it is no place for a delivery", path)
		}
	}
	if len(d.Roots) == 0 {
		return nil
	}
	for _, root := range d.Roots {
		if strings.HasPrefix(path, strings.TrimSuffix(actual(root), "/")+"/") {
			return nil
		}
	}
	return fixf("choose a path below one of them, or have root add the folder to delivery_roots in the configuration",
		"%s is not below %s (delivery_roots), where files may be delivered", path, strings.Join(d.Roots, ", "))
}

// actual returns a path without symbolic links, as far as it exists.
func actual(path string) string {
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		return whole
	}
	if folder, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(folder, filepath.Base(path))
	}
	return path
}
