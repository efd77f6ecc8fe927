package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"arca/internal/envelope"
	"arca/internal/store"
)

// Stage is a part of a restore.
type Stage string

// The stages of a restore, in their order.
const (
	StageVerify Stage = "verify"
	StageWrite  Stage = "write"
)

// Restore fills an empty store, which must not be open, with a backup. The file is read
// as a whole and checked to its last byte before anything is written; a file that
// changes between the two readings ends the restore like one that was damaged, and
// leaves a store that does not open. Afterwards another Store opens the data.
//
// report is told how many bytes of the file a stage has read.
func Restore(ctx context.Context, st *store.Store, src io.ReadSeeker, u Unlock, report func(s Stage, bytes int64)) (*Summary, error) {
	r, err := rewound(src)
	if err != nil {
		return nil, err
	}
	h := r.Header()
	key, err := h.Open(ctx, u)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()

	im := store.Import{Name: h.Backup, Deployment: h.Deployment}
	defer func() { store.WipeKeys(im.Keys) }()
	if h.Root != nil {
		im.RootParams = h.Root.Params
	}
	sum, err := r.Verify(key, func(c *Contents) error {
		if c.Keys != nil {
			// They are needed for the second reading, too; Verify wipes its own.
			im.Keys, im.Ceiling = cloneKeys(c.Keys), c.Ceiling
		}
		for _, rec := range c.Records {
			if rec.Sequence > im.Ceiling {
				return fmt.Errorf("%w: a record has a sequence above all", ErrDamaged)
			}
			if err := st.CheckRecord(rec); err != nil {
				return fmt.Errorf("%w (the backup was made by arca %s)", err, h.Version)
			}
		}
		return ctx.Err()
	}, func(n int64) { report(StageVerify, n) })
	if err != nil {
		return nil, err
	}

	again, err := rewound(src)
	if err != nil {
		return nil, err
	}
	if again.header.text != h.text {
		return nil, errors.New("the backup was changed while it was read")
	}
	im.Records = func(yield func(store.ExportRecord, error) bool) {
		stopped := errors.New("stopped")
		_, err := again.Verify(key, func(c *Contents) error {
			for _, rec := range c.Records {
				if !yield(rec, nil) {
					return stopped
				}
			}
			return nil
		}, func(n int64) { report(StageWrite, n) })
		if err != nil && !errors.Is(err, stopped) {
			yield(store.ExportRecord{}, fmt.Errorf("read the backup a second time: %w", err))
		}
	}
	if err := st.Import(ctx, im); err != nil {
		return nil, err
	}
	return sum, nil
}

func rewound(src io.ReadSeeker) (*Reader, error) {
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	return NewReader(src)
}

func cloneKeys(keys []store.ExportKey) []store.ExportKey {
	out := append([]store.ExportKey(nil), keys...)
	for i := range out {
		out[i].Secret = envelope.NewPlaintext(append([]byte(nil), keys[i].Secret.Bytes()...))
	}
	return out
}
