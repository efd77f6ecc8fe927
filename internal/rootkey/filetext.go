package rootkey

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"arca/internal/envelope"
)

// A root key file is one line of text,
//
//	arca-root-key:1:<key id, hex>:<secret, base64url without padding>:<checksum, hex>
//
// where 1 is the number of the format and the checksum is the first 8 bytes of the
// SHA-256 of everything before its colon. It finds typing and copying mistakes. The
// fixed beginning lets scanners find such keys where they do not belong.
const (
	filePrefix    = "arca-root-key:"
	fileFormat    = 1
	checksumBytes = 8

	// lineBytes is enough for a line.
	lineBytes = 128
)

var errNotKeyFile = errors.New("does not hold a root key (one line that begins with " + filePrefix + ")")

// encodeFile returns the content of a root key file. The caller clears it.
func encodeFile(key *envelope.Key) []byte {
	secret := key.Secret()
	defer secret.Wipe()
	// The capacity is enough for the whole line, so that append leaves no copies of the
	// secret behind.
	out := make([]byte, 0, lineBytes)
	out = append(out, filePrefix...)
	out = strconv.AppendInt(out, fileFormat, 10)
	out = append(out, ':')
	out = append(out, key.ID().String()...)
	out = append(out, ':')
	out = base64.RawURLEncoding.AppendEncode(out, secret.Bytes())
	sum := sha256.Sum256(out)
	out = append(out, ':')
	out = hex.AppendEncode(out, sum[:checksumBytes])
	return append(out, '\n')
}

// decodeFile reads what encodeFile wrote, without the white space around it. Errors
// never quote the content.
func decodeFile(text []byte) (*envelope.Key, error) {
	rest, ok := bytes.CutPrefix(text, []byte(filePrefix))
	if !ok {
		return nil, errNotKeyFile
	}
	fields := bytes.Split(rest, []byte(":"))
	if string(fields[0]) != strconv.Itoa(fileFormat) {
		if _, err := strconv.ParseUint(string(fields[0]), 10, 16); err == nil {
			return nil, fmt.Errorf("is of format %s, which this version of arca does not know", fields[0])
		}
		return nil, errNotKeyFile
	}
	if len(fields) != 4 {
		return nil, errors.New("is damaged: the line is not complete")
	}
	sum := sha256.Sum256(text[:bytes.LastIndexByte(text, ':')])
	want := hex.AppendEncode(nil, sum[:checksumBytes])
	if subtle.ConstantTimeCompare(want, fields[3]) != 1 {
		return nil, errors.New("is damaged: its checksum is wrong")
	}
	id, err := envelope.ParseKeyID(string(fields[1]))
	if err != nil {
		return nil, errors.New("is damaged: its key id is not hexadecimal")
	}
	secret, err := base64.RawURLEncoding.Strict().AppendDecode(make([]byte, 0, 64), fields[2])
	defer clear(secret)
	if err != nil {
		return nil, errors.New("is damaged: its secret is not base64")
	}
	key, err := envelope.NewKey(id, rootVersion, secret)
	if err != nil {
		return nil, errors.New("is damaged: its secret has the wrong length")
	}
	return key, nil
}
