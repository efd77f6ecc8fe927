package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// maxChangeKeyBytes is longer than any key of a record in etcd.
const maxChangeKeyBytes = 256

// errChange means that a line says of a change what no change can be.
var errChange = errors.New("not a change of a record")

// Changes reads what the call of a line did to stored records; most lines did nothing.
// The line is not trusted.
func Changes(line []byte) ([]Change, error) {
	// In strings the quotes would be escaped, so nothing but members is found.
	if !bytes.Contains(line, []byte(`"changes":[{"table":`)) {
		return nil, nil
	}
	var r struct {
		Arca struct {
			Changes []struct {
				Table    string `json:"table"`
				Key      string `json:"key"`
				Sequence uint64 `json:"sequence"`
				SHA256   string `json:"sha256"`
				Deleted  bool   `json:"deleted"`
			} `json:"changes"`
		} `json:"arca"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	out := make([]Change, len(r.Arca.Changes))
	for i, c := range r.Arca.Changes {
		key, err := hex.DecodeString(c.Key)
		if err != nil || len(key) == 0 || len(key) > maxChangeKeyBytes || c.Sequence > math.MaxInt64 {
			return nil, fmt.Errorf("read changes: number %d: %w", i+1, errChange)
		}
		sum, err := hex.DecodeString(c.SHA256)
		if err != nil || len(sum) != 0 && len(sum) != 32 || c.Deleted != (len(sum) == 0) {
			return nil, fmt.Errorf("read changes: number %d: %w", i+1, errChange)
		}
		out[i] = Change{Table: c.Table, Key: key, Sequence: c.Sequence, Deleted: c.Deleted}
		copy(out[i].SHA256[:], sum)
	}
	return out, nil
}
