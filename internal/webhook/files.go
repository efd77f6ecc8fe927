package webhook

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// maxFileBytes bounds a file that the configuration names.
const maxFileBytes = 1 << 20

// ReadSecrets reads secrets from files, one in each.
func ReadSecrets(paths []string) ([]Secret, error) {
	if len(paths) == 0 {
		return nil, errors.New("secret_files: missing")
	}
	var secrets []Secret
	for _, path := range paths {
		text, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("secret_files: %w", err)
		}
		secret, err := ParseSecret(string(text))
		if err != nil {
			return nil, fmt.Errorf("secret_files: %s: %w", path, err)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// ReadRoots reads a PEM file of authorities. The empty path stands for those of the
// system, which nil does, too.
func ReadRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca_file: no certificate in %s", path)
	}
	return pool, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, maxFileBytes)
	}
	return os.ReadFile(path)
}
