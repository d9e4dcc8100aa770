package pfx

import (
	"crypto/rand"
	"fmt"
	"math/big"
)

const (
	// passwordLength gives 186 bits with the alphabet below.
	passwordLength = 32
	// passwordAlphabet has no characters that are taken for others when they are
	// read aloud or typed (0 O o, 1 l I), and none that a shell, YAML or a URL
	// treats specially.
	passwordAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"
)

// NewPassword returns a random password of 32 letters and digits that are easy to
// tell apart. It blocks only if the system's random source does.
func NewPassword() (string, error) {
	password := make([]byte, passwordLength)
	limit := big.NewInt(int64(len(passwordAlphabet)))
	for i := range password {
		n, err := rand.Int(rand.Reader, limit)
		if err != nil {
			return "", fmt.Errorf("make password: %w", err)
		}
		password[i] = passwordAlphabet[n.Int64()]
	}
	return string(password), nil
}
