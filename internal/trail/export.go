package trail

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Bounds of one file of an export, and of what waits for being written in all.
const (
	exportEvents     = 10_000
	exportBytes      = 8 << 20
	exportTotalBytes = 64 << 20
)

// ExportConfig says what to export and where to.
type ExportConfig struct {
	Filter Filter
	// Dir gets the files, below AWSLogs. It is made if it is missing.
	Dir string
	// KeepOwn leaves the member "arca" in the records, which CloudTrail's do not have.
	KeepOwn bool
	// Progress is called now and then with how many events were exported and the time of
	// the latest; nil for nobody.
	Progress func(events uint64, latest time.Time)
}

// ExportReport says what an export did.
type ExportReport struct {
	Events uint64
	Files  int // written
	// Present are files that an earlier export of the same events has left.
	Present int
	Bytes   int64 // of all files, written or present
	// Damaged says that lines or whole segments of the log cannot be read: events may be
	// missing.
	Damaged bool
}

// Export writes the events that are asked for as CloudTrail delivers them: in gzip files
// of JSON, by account, region and day,
//
//	AWSLogs/<account>/CloudTrail/<region>/<YYYY>/<MM>/<DD>/<account>_CloudTrail_<region>_<time>_<16 characters>.json.gz
//
// What it writes depends on the events alone, down to the names, so that an export that
// was interrupted is begun again and writes what is missing. A file is there whole or not
// at all. Memory is bounded, whatever the number of events, accounts and regions.
func (t *Trail) Export(ctx context.Context, cfg ExportConfig) (ExportReport, error) {
	x := exporter{cfg: cfg, open: make(map[exportKey]*exportFile)}
	damaged, err := t.walk(ctx, cfg.Filter, x.add)
	x.report.Damaged = damaged
	if err == nil {
		err = x.flushAll()
	}
	if err != nil {
		return x.report, fmt.Errorf("export events: %w", err)
	}
	return x.report, nil
}

// walk calls fn for all events that are asked for, in the order of SearchForward, and
// reports whether part of the log cannot be read.
func (t *Trail) walk(ctx context.Context, f Filter, fn func(e *Event) error) (damaged bool, err error) {
	q, err := f.compile()
	if err != nil {
		return false, err
	}
	lanes := make([]*lane, 0, len(t.folders))
	defer func() {
		for _, l := range lanes {
			l.close()
			damaged = damaged || l.damaged
		}
	}()
	for _, dir := range t.folders {
		l, err := dir.newLane(ctx, q, true, nil)
		if err != nil {
			return false, err
		}
		lanes = append(lanes, l)
	}
	b := budget{lines: math.MaxInt}
	for {
		best, err := first(ctx, lanes, &b, true)
		if err != nil || best == nil {
			return false, err
		}
		e := best.take()
		if err := fn(&e); err != nil {
			return false, err
		}
	}
}

type exportKey struct{ account, region, day string }

func (k exportKey) compare(o exportKey) int {
	return cmp.Or(strings.Compare(k.account, o.account), strings.Compare(k.region, o.region), strings.Compare(k.day, o.day))
}

// exportFile gathers the records of a file.
type exportFile struct {
	buf     bytes.Buffer
	events  int
	minutes time.Time // of its first event
}

type exporter struct {
	cfg    ExportConfig
	open   map[exportKey]*exportFile
	bytes  int // in all of open
	zip    *gzip.Writer
	report ExportReport
}

func (x *exporter) add(e *Event) error {
	k := exportKey{folderPart(e.Account, "000000000000"), folderPart(e.Region, "unknown"), e.Time.Format("2006/01/02")}
	f := x.open[k]
	if f == nil {
		f = &exportFile{minutes: e.Time}
		f.buf.WriteString(`{"Records":[`)
		x.open[k] = f
	} else {
		f.buf.WriteByte(',')
	}
	line := e.Raw
	if !x.cfg.KeepOwn {
		line = WithoutOwn(line)
	}
	before := f.buf.Len()
	f.buf.Write(line)
	f.events++
	x.bytes += f.buf.Len() - before
	x.report.Events++
	if x.cfg.Progress != nil && x.report.Events%1000 == 0 {
		x.cfg.Progress(x.report.Events, e.Time)
	}
	switch {
	case f.events >= exportEvents || f.buf.Len() >= exportBytes:
		return x.flush(k)
	case x.bytes >= exportTotalBytes:
		return x.flush(x.largest())
	}
	return nil
}

// folderPart keeps what was sent from choosing folders: lines that somebody else has put
// into the log may say anything.
func folderPart(s, otherwise string) string {
	if s == "" || len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return otherwise
	}
	return s
}

func (x *exporter) largest() exportKey {
	var best exportKey
	size := -1
	for k, f := range x.open {
		if f.buf.Len() > size || f.buf.Len() == size && k.compare(best) < 0 {
			best, size = k, f.buf.Len()
		}
	}
	return best
}

func (x *exporter) flushAll() error {
	keys := make([]exportKey, 0, len(x.open))
	for k := range x.open {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, exportKey.compare)
	for _, k := range keys {
		if err := x.flush(k); err != nil {
			return err
		}
	}
	return nil
}

// flush writes a file under a name that its content decides.
func (x *exporter) flush(k exportKey) error {
	f := x.open[k]
	delete(x.open, k)
	x.bytes -= f.buf.Len() - len(`{"Records":[`) - (f.events - 1)
	f.buf.WriteString("]}")
	sum := sha256.Sum256(f.buf.Bytes())
	unique := base32.StdEncoding.EncodeToString(sum[:10])
	dir := filepath.Join(x.cfg.Dir, "AWSLogs", k.account, "CloudTrail", k.region, filepath.FromSlash(k.day))
	name := fmt.Sprintf("%s_CloudTrail_%s_%s_%s.json.gz", k.account, k.region, f.minutes.UTC().Format("20060102T1504Z"), unique)
	path := filepath.Join(dir, name)
	if info, err := os.Lstat(path); err == nil {
		x.report.Present++
		x.report.Bytes += info.Size()
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	n, err := x.write(path, f.buf.Bytes())
	if err != nil {
		return err
	}
	x.report.Files++
	x.report.Bytes += n
	return nil
}

// write puts a file in its place when all of it is on disk.
func (x *exporter) write(path string, text []byte) (n int64, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".*"+tempSuffix)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name()) // its name says what it is
		}
	}()
	if x.zip == nil {
		x.zip = gzip.NewWriter(tmp)
	} else {
		x.zip.Reset(tmp)
	}
	if _, err := x.zip.Write(text); err != nil {
		return 0, err
	}
	if err := x.zip.Close(); err != nil {
		return 0, err
	}
	if err := tmp.Sync(); err != nil {
		return 0, err
	}
	info, err := tmp.Stat()
	if err != nil {
		return 0, err
	}
	if err := tmp.Close(); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(tmp.Name(), path)
}
