package config

import (
	"reflect"
	"slices"
	"strings"
)

// keysOf lists the keys that a file of this type may have anywhere.
func keysOf(t reflect.Type) []string {
	keys, seen := map[string]bool{}, map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		if seen[t] {
			return
		}
		seen[t] = true
		switch t.Kind() { //nolint:exhaustive // the others have no keys in them
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			for field := range t.Fields() {
				name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
				if name != "" && name != "-" {
					keys[name] = true
				}
				if field.IsExported() {
					walk(field.Type)
				}
			}
		}
	}
	walk(t)
	list := make([]string, 0, len(keys))
	for k := range keys {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// closest returns the word that differs from what was typed in the fewest letters, if
// those are few for its length; empty: none is close.
func closest(typed string, words []string) string {
	best, fewest := "", min(max(len(typed)/4, 1), 2)+1
	for _, w := range words {
		if n := letters(strings.ToLower(typed), w); n > 0 && n < fewest { // 0: it stands elsewhere
			best, fewest = w, n
		}
	}
	return best
}

// letters is how many letters must be added, removed or changed, or exchanged with their
// neighbour, to make b of a.
func letters(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			n := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, rows[i-2][j-2]+1)
			}
			rows[i][j] = n
		}
	}
	return rows[len(a)][len(b)]
}
