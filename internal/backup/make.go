package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"arca/internal/envelope"
	"arca/internal/paging"
	"arca/internal/store"
)

// pageBytes is how much of the store a frame holds. It bounds what a page costs the
// server in memory, and what a client that loses its connection reads again.
const pageBytes = 1 << 20

// Maker makes backups of an open store. Its methods may be called concurrently, by
// different processes on the same data, in any order: all that is between two calls is
// in the header and the cursor that the caller carries.
type Maker struct {
	store   *store.Store
	version string
	page    int // bytes of the store in a frame
	codec   codec
}

// NewMaker returns the maker for a store; version is arca's, for the header.
func NewMaker(st *store.Store, version string) *Maker {
	return &Maker{store: st, version: version, page: pageBytes, codec: newCodec()}
}

// Wrapping is the key that a backup is sealed under. The zero Wrapping is the root key
// of the store.
type Wrapping struct {
	// Key was derived from a passphrase with Params.
	Key    *envelope.Key
	Params []byte
}

// Begun is a backup that has begun: a header and the place of the first frame.
type Begun struct {
	Header *Header
	// Raw is the beginning of the file.
	Raw    []byte
	Cursor string
}

// Begin fixes the state that is backed up: everything that was acknowledged before.
func (m *Maker) Begin(ctx context.Context, now time.Time, w Wrapping) (_ *Begun, err error) {
	x, err := m.store.BeginExport(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin backup: %w", err)
	}
	defer func() {
		if err != nil {
			m.store.EndExport(ctx, x)
		}
	}()
	key := envelope.GenerateKey(envelope.NewKeyID(), keyVersion)
	defer key.Wipe()
	h := &Header{
		Version: m.version, Created: now.UTC().Truncate(time.Second), Deployment: m.store.DeploymentID(),
		Backup: key.ID().String(), Revision: x.Revision,
	}
	for _, t := range x.Tables {
		h.Records += t.Records
	}
	if w.Key != nil {
		h.Passphrase = w.Params
	} else {
		r, err := m.store.ExportRoot(ctx, x)
		if err != nil {
			return nil, gone(err)
		}
		h.Root = (*Root)(&r)
	}
	if err := h.render(); err != nil {
		return nil, err
	}
	if w.Key != nil {
		h.key, err = w.Key.SealKey(key, h.keyAD())
	} else {
		h.key, err = m.store.WrapKey(key, h.keyAD())
	}
	if err != nil {
		return nil, fmt.Errorf("seal key of the backup: %w", err)
	}
	token, err := m.sealCursor(h, &cursor{Export: x})
	if err != nil {
		return nil, err
	}
	return &Begun{Header: h, Raw: h.Bytes(), Cursor: token}, nil
}

// Page is the next part of a backup.
type Page struct {
	// Frame is what the file gets.
	Frame []byte
	First bool
	// Cursor is where the next page begins; "" after the last.
	Cursor string
	// Records and Bytes count up to and with this page.
	Records, Bytes int64
}

// Read makes the frame at a cursor. The same cursor gives the same part of the store
// again. The error wraps ErrGone when the backup has to begin anew, and ErrKey when the
// wrapping is not the one that the backup was begun with.
func (m *Maker) Read(ctx context.Context, h *Header, token string, w Wrapping) (*Page, error) {
	if h.Deployment != m.store.DeploymentID() {
		return nil, fmt.Errorf("%w: it is of deployment %s, and this is %s", ErrGone, h.Deployment, m.store.DeploymentID())
	}
	key, err := m.openKey(h, w)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	cur, err := m.openCursor(h, token)
	if err != nil {
		return nil, err
	}
	c := &content{From: cur.position()}
	defer c.wipe()
	if cur.Totals.Frames == 0 {
		if c.Keyring, err = m.keyring(ctx, cur.Export); err != nil {
			return nil, gone(err)
		}
	}
	cur.Export, err = m.store.ExportPage(ctx, cur.Export, m.page, func(r store.ExportRecord) error {
		if n := len(c.Tables); n == 0 || c.Tables[n-1].Name != r.Table {
			c.Tables = append(c.Tables, tablePart{Name: r.Table})
		}
		last := &c.Tables[len(c.Tables)-1]
		part := recordPart{Key: []byte(r.Key), Sequence: r.Sequence, Plain: append([]byte(nil), r.Plain...)}
		last.Records = append(last.Records, part)
		cur.Totals.add(part.Key, part.Plain)
		return nil
	})
	if err != nil {
		return nil, gone(err)
	}
	f := &Frame{Index: cur.Totals.Frames, Last: cur.Export.Done()}
	cur.Totals.Frames++
	c.Next = cur.position()
	if f.Last {
		c.Totals = &cur.Totals
	} else if f.Cursor, err = m.sealCursor(h, cur); err != nil {
		return nil, err
	}
	raw, err := m.seal(key, f, c)
	if err != nil {
		return nil, err
	}
	if f.Last {
		m.store.EndExport(ctx, cur.Export)
	}
	return &Page{Frame: raw, First: f.Index == 0, Cursor: f.Cursor, Records: cur.Totals.Records, Bytes: cur.Totals.Bytes}, nil
}

func (m *Maker) seal(key *envelope.Key, f *Frame, c *content) ([]byte, error) {
	plain, err := m.codec.enc.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	defer clear(plain)
	if f.sealed, err = key.Seal(keyLabel, plain, frameAD(f)); err != nil {
		return nil, fmt.Errorf("seal frame: %w", err)
	}
	return appendFrame(nil, f)
}

func (m *Maker) openKey(h *Header, w Wrapping) (key *envelope.Key, err error) {
	switch {
	case h.Root != nil && w.Key != nil, h.Root == nil && w.Key == nil:
		return nil, fmt.Errorf("%w: it was begun with another kind of key", ErrKey)
	case w.Key != nil:
		key, err = w.Key.OpenKey(h.key, h.keyAD())
	default:
		key, err = m.store.UnwrapKey(h.key, h.keyAD())
	}
	switch {
	case errors.Is(err, store.ErrExportGone):
		return nil, gone(err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if err := h.checkKey(key); err != nil {
		key.Wipe()
		return nil, err
	}
	return key, nil
}

func (m *Maker) keyring(ctx context.Context, x store.Export) (*keyringPart, error) {
	keys, ceiling, err := m.store.ExportKeyring(ctx, x)
	if err != nil {
		return nil, err
	}
	defer store.WipeKeys(keys)
	part := &keyringPart{Ceiling: ceiling}
	for _, k := range keys {
		part.Keys = append(part.Keys, keyPart{
			Purpose: k.Purpose, ID: append([]byte(nil), k.ID[:]...), Version: k.Version, Created: k.Created, State: k.State,
			Secret: append([]byte(nil), k.Secret.Bytes()...),
		})
	}
	return part, nil
}

// gone tells what has to begin anew.
func gone(err error) error {
	if errors.Is(err, store.ErrExportGone) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return fmt.Errorf("read store: %w", err)
}

// cursor is where a backup goes on. The caller carries it sealed under a key of the
// store, so that it can be neither read nor made.
type cursor struct {
	Export store.Export
	Totals Totals // of the frames so far
}

func (c *cursor) position() position {
	if c.Export.Done() || c.Totals.Frames == 0 && c.Export.From == "" {
		return position{}
	}
	return position{Table: c.Export.Tables[0].Name, Key: []byte(c.Export.From)}
}

func question(h *Header) paging.Question { return paging.QuestionOf("arca", "backup", h.Backup) }

// wireCursor is a cursor as JSON.
type wireCursor struct {
	Revision int64    `json:"r"`
	Hold     int64    `json:"h"`
	Names    []string `json:"t"`
	Counts   []int64  `json:"c"`
	From     []byte   `json:"f,omitempty"`
	Frames   uint32   `json:"i"`
	Records  int64    `json:"n"`
	Bytes    int64    `json:"b"`
}

func (m *Maker) sealCursor(h *Header, c *cursor) (string, error) {
	v := wireCursor{
		Revision: c.Export.Revision, Hold: c.Export.Hold, From: []byte(c.Export.From),
		Frames: c.Totals.Frames, Records: c.Totals.Records, Bytes: c.Totals.Bytes,
	}
	for _, t := range c.Export.Tables {
		v.Names, v.Counts = append(v.Names, t.Name), append(v.Counts, t.Records)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode cursor: %w", err)
	}
	token, err := paging.Seal(m.store, question(h), string(text))
	if err != nil {
		return "", err
	}
	if len(token) > maxCursorBytes {
		return "", fmt.Errorf("cursor of %d bytes is too long", len(token))
	}
	return token, nil
}

func (m *Maker) openCursor(h *Header, token string) (*cursor, error) {
	text, err := paging.Open(m.store, question(h), token)
	if err != nil {
		return nil, fmt.Errorf("%w: its cursor is of another backup or store", ErrGone)
	}
	var v wireCursor
	if err := json.Unmarshal([]byte(text), &v); err != nil || len(v.Names) != len(v.Counts) {
		return nil, fmt.Errorf("%w: its cursor is of another version of arca", ErrGone)
	}
	c := &cursor{
		Export: store.Export{Revision: v.Revision, Hold: v.Hold, From: string(v.From)},
		Totals: Totals{Frames: v.Frames, Records: v.Records, Bytes: v.Bytes},
	}
	for i, name := range v.Names {
		c.Export.Tables = append(c.Export.Tables, store.ExportTable{Name: name, Records: v.Counts[i]})
	}
	return c, nil
}
