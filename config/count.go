package config

import (
	"errors"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// Count is a whole number. It is a type of its own because the decoder makes 3 of 3.5
// and 8 or 10 of 010 without a word.
type Count int

// UnmarshalYAML reads decimal digits, with "-" in front or not.
func (c *Count) UnmarshalYAML(node ast.Node) error {
	text, err := scalar(node)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(n) != text {
		return at(node, errors.New("this must be a whole number"))
	}
	*c = Count(n)
	return nil
}
