package pfx

import "errors"

// What can be wrong with a file or a pair. Each says what it is and what to do;
// the file's name is added by the caller. None ever contains the password, the
// key or bytes of the file.
var (
	// ErrWrongPassword means the password does not open the file. A file whose
	// bytes were changed on the way looks the same: its integrity check is keyed
	// with the password.
	ErrWrongPassword = errors.New("the password does not open this file, or its content was changed: give the password it was made with, or copy the file again")
	// ErrPasswordCharacters means the password cannot be used for PKCS#12 at all.
	ErrPasswordCharacters = errors.New("the password has characters that PKCS#12 cannot hold, such as emoji or bytes that are not UTF-8: make the file again with another password")
	// ErrNoKey means there is a certificate but no private key.
	ErrNoKey = errors.New("there is no private key in this file: export the certificate together with its private key")
	// ErrManyKeys means there is more than one private key.
	ErrManyKeys = errors.New("there is more than one private key in this file: export only the one of this app")
	// ErrNotRSA means the private key is not an RSA key.
	ErrNotRSA = errors.New("the private key is not an RSA key, which Entra ID requires for signing in with a certificate: make the certificate again with an RSA key")
	// ErrWeakKey means the RSA key is shorter than [MinKeyBits].
	ErrWeakKey = errors.New("the RSA key is shorter than 2048 bits: make the certificate again with a longer key")
	// ErrNoCertificate means there is a private key but no certificate.
	ErrNoCertificate = errors.New("there is no certificate in this file: export the private key together with its certificate")
	// ErrMismatch means no certificate is that of the private key.
	ErrMismatch = errors.New("no certificate in this file belongs to its private key: export the two that were made together")
	// ErrEncrypted means the private key of a PEM file is encrypted, and no password
	// was given.
	ErrEncrypted = errors.New("the private key in this PEM file is encrypted: give its password (--password-file)")
	// ErrFriendlyName means that a friendly name cannot be written.
	ErrFriendlyName = errors.New("a friendly name is one printable line of at most 128 characters")
	// ErrUnsupported means the file is PKCS#12 with algorithms or parts that are
	// not supported.
	ErrUnsupported = errors.New("this PKCS#12 file uses something that is not supported: write it again with openssl pkcs12 -export")
	// ErrTruncated means that the end of the file is missing.
	ErrTruncated = errors.New("the file is empty or ends too early: copy it again")
	// ErrFormat means the file is neither PKCS#12 (DER) nor PEM, or is damaged.
	ErrFormat = errors.New("the file is not a PFX (PKCS#12) or PEM file that can be read: export it again, and decode it first if it is base64 text")
	// ErrTooLarge means the file is larger than [MaxBytes].
	ErrTooLarge = errors.New("the file is larger than 1 MiB, which no PFX of one app is: check its name")
	// ErrEncoding means the name of an encoding is unknown.
	ErrEncoding = errors.New("unknown encoding: use modern, legacy-des or pem")
)
