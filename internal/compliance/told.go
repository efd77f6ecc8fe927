package compliance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"arca/internal/secrets"
)

// toldFile remembers on disk which states were told: a log of fixed records, the newest
// of a secret counting, written anew when most of it is outdated. It need not survive a
// power failure to the last record: what is lost is told once more.
//
// A record is the uid of the secret, its states (0: it is gone), and a checksum. The
// record without uid says that a whole pass has been put down: from then on a secret that
// the file does not know is a new one.
type toldFile struct {
	path    string // "": nothing is kept
	file    *os.File
	pending []byte
	records int  // in the file
	live    int  // of these, as far as known, not outdated
	whole   bool // the record that says so is due or written
	broken  time.Time
}

const (
	toldMagic  = "arca compliance 1\n"
	toldRecord = 16 + 4 + 4
	// toldSlack is how many outdated records are left alone.
	toldSlack = 4096
	// toldRetry is the pause after the file could not be written.
	toldRetry = time.Minute
)

func appendTold(b []byte, uid secrets.UID, is states) []byte {
	from := len(b)
	b = append(b, uid[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(is))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
}

// wholeMark is the value in the record without uid.
const wholeMark = 1

// readTold reads what a file says, up to the first record that is torn or damaged.
func readTold(r io.Reader) (told map[secrets.UID]states, whole bool, records int, err error) {
	told = make(map[secrets.UID]states)
	in := bufio.NewReaderSize(r, 1<<16)
	magic := make([]byte, len(toldMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != toldMagic {
		return told, false, 0, errors.New("not a file of states")
	}
	var rec [toldRecord]byte
	for {
		if _, err := io.ReadFull(in, rec[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return told, whole, records, nil
			}
			return told, whole, records, err
		}
		if binary.BigEndian.Uint32(rec[20:]) != crc32.ChecksumIEEE(rec[:20]) {
			return told, whole, records, nil
		}
		records++
		uid, value := secrets.UID(rec[:16]), binary.BigEndian.Uint32(rec[16:])
		switch is := states(value); {
		case uid == secrets.UID{}:
			whole = value == wholeMark
		case value == 0:
			delete(told, uid)
		case value <= 0xffff && is.valid():
			told[uid] = is
		}
	}
}

// openTold takes over what a former process has told. Without it, or when it cannot be
// read, the first look at each secret tells nothing.
func (s *Service) openTold() {
	t := &toldFile{path: s.cfg.File}
	s.told = t
	if t.path == "" {
		return
	}
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		s.prior, s.had, t.records, err = readTold(f)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		s.cfg.Logger.Warn("which states of secrets were told is not known any more; the first look tells none",
			"file", t.path, "error", err.Error())
		s.prior, s.had = nil, false
	}
	t.whole = s.had
}

// note keeps the states of a secret for the next write.
func (t *toldFile) note(uid secrets.UID, is states) {
	if t.path != "" {
		t.pending = appendTold(t.pending, uid, is)
	}
}

// noteWhole keeps that every secret has been looked at.
func (t *toldFile) noteWhole() {
	if t.path != "" && !t.whole {
		t.whole = true
		t.pending = appendTold(t.pending, secrets.UID{}, wholeMark)
	}
}

// write puts down what was noted. all yields everything there is to be known, for when
// the file is written anew, which is also how a failed write is made good.
func (t *toldFile) write(now time.Time, all func() iter.Seq2[secrets.UID, states]) error {
	if t.path == "" || len(t.pending) == 0 {
		return nil
	}
	if !t.broken.IsZero() && now.Sub(t.broken).Abs() < toldRetry {
		t.pending = t.pending[:toldRecord] // the file is written anew, all of it
		return nil
	}
	err := t.append(all)
	t.broken = time.Time{}
	if err != nil {
		t.broken = now
		if t.file != nil {
			_ = t.file.Close() // it is given up, and its error with it
			t.file = nil
		}
		return err
	}
	t.pending = t.pending[:0]
	return nil
}

func (t *toldFile) append(all func() iter.Seq2[secrets.UID, states]) error {
	// The first write of a process makes the file anew, without what is torn at its end.
	if t.file == nil || t.records > 2*t.live+toldSlack {
		return t.rewrite(all())
	}
	if _, err := t.file.Write(t.pending); err != nil {
		return err
	}
	t.records += len(t.pending) / toldRecord
	return nil
}

// rewrite replaces the file. A crash leaves the old one or the new one.
func (t *toldFile) rewrite(all iter.Seq2[secrets.UID, states]) (err error) {
	dir := filepath.Dir(t.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(t.path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	out := bufio.NewWriterSize(f, 1<<16)
	records := 0
	put := func(uid secrets.UID, is states) error {
		records++
		_, err := out.Write(appendTold(nil, uid, is))
		return err
	}
	if _, err := out.WriteString(toldMagic); err != nil {
		return err
	}
	if t.whole {
		if err := put(secrets.UID{}, wholeMark); err != nil {
			return err
		}
	}
	for uid, is := range all {
		if err := put(uid, is); err != nil {
			return err
		}
	}
	if err := errors.Join(out.Flush(), f.Sync()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), t.path); err != nil {
		return fmt.Errorf("put %s in its place: %w", filepath.Base(t.path), err)
	}
	if t.file != nil {
		_ = t.file.Close() // the old file, which nobody reads any more
	}
	t.file, t.records, t.live = f, records, records
	return nil
}

// all yields what is to be in the file: what was told of every secret, by this process or
// a former one.
func (s *Service) all() iter.Seq2[secrets.UID, states] {
	return func(yield func(secrets.UID, states) bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for uid, is := range s.prior {
			if s.seen.of(uid) == nil && !yield(uid, is) {
				return
			}
		}
		for k := range s.seen.all() {
			if !yield(k.uid, k.states) {
				return
			}
		}
	}
}

// Close releases the file. Step must have returned.
func (s *Service) Close() error {
	if s.told == nil || s.told.file == nil {
		return nil
	}
	f := s.told.file
	s.told.file = nil
	return f.Close()
}
