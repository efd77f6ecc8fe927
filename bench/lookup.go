package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"arca/internal/audit"
	"arca/internal/trail"
)

// lookupDays is the time that the events of a lookup log are spread over.
const lookupDays = 90

// lookups measures how long the first page of events takes that somebody asks for, in a
// log that is closed, compressed and not in memory, from opening the trail on.
func lookups(ctx context.Context, o options) (err error) {
	dir := o.lookupDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "arca-lookup-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	log, err := audit.Open(audit.Config{Dir: filepath.Join(dir, "n1"), Node: "n1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- log.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-done, log.Close())
	}()
	l := &lookupLog{dir: filepath.Join(dir, "n1"), log: log, total: o.lookup}
	if err := l.fill(ctx); err != nil {
		return err
	}
	if err := l.sizes(); err != nil {
		return err
	}
	return l.measure(ctx)
}

type lookupLog struct {
	dir   string
	log   *audit.Log
	total int
}

// The users of the log: one makes one event, the first of all; a few make one of a
// thousand each; the others share the rest.
const (
	onceUser = "once"
	rareUser = "rare-007"
	busyUser = "busy-3"
)

func (l *lookupLog) record(n int, start time.Time) *audit.Record {
	user := fmt.Sprintf("busy-%d", rand.IntN(20))
	switch {
	case n == 0:
		user = onceUser
	case n%1000 == 7:
		user = fmt.Sprintf("rare-%03d", n/1000%100)
	}
	secret := fmt.Sprintf("team-%d/service-%d/password", rand.IntN(50), rand.IntN(2000))
	r := &audit.Record{
		EventID: eventID(n), EventTime: start.Add(time.Duration(n) * (lookupDays * 24 * time.Hour / time.Duration(l.total))),
		EventType: "AwsApiCall", EventSource: "secretsmanager.amazonaws.com", EventName: "GetSecretValue", ReadOnly: true,
		Region: "eu-central-1", SourceIP: fmt.Sprintf("10.0.%d.%d", rand.IntN(4), rand.IntN(250)),
		UserAgent: "Boto3/1.40.1 md/Botocore#1.40.1 ua/2.1 os/linux md/arch#x86_64 lang/python#3.13.1",
		Identity: audit.Identity{
			Type: "IAMUser", PrincipalID: "AIDAIOSFODNN7EXAMPLE", ARN: "arn:aws:iam::111122223333:user/" + user,
			AccountID: "111122223333", AccessKeyID: "AKIA" + user, UserName: user,
		},
		RequestID: eventID(n + 1<<40), RecipientAccountID: "111122223333",
		RequestParameters: []byte(`{"secretId":"arn:aws:secretsmanager:eu-central-1:111122223333:secret:` + secret + `-AbCdEf"}`),
		TLS:               &audit.TLSDetails{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", ClientProvidedHostHeader: "secrets.example.com"},
	}
	if n%200 == 0 {
		r.ErrorCode, r.ErrorMessage = "AccessDeniedException", "User: "+r.Identity.ARN+" is not authorized"
	}
	return r
}

// eventID is the id of the nth event: digits that do not ascend, as those of random ids.
func eventID(n int) string {
	h := uint64(n) * 0x9e3779b97f4a7c15
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", h>>32, h>>16&0xffff, h>>4&0xfff, h&0xfff, n)
}

// fill writes what the log lacks, compressing and indexing as a server does.
func (l *lookupLog) fill(ctx context.Context) error {
	began := time.Now()
	have := int(l.log.Size())
	start := time.Now().Add(-lookupDays * 24 * time.Hour)
	tr, err := trail.Open(trail.Config{Log: l.log, LogDir: l.dir})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(running) }()
	err = l.write(ctx, have, start)
	if err == nil {
		_, err = tr.Find(ctx, eventID(l.total-1)) // everything is indexed when this is found
	}
	stop()
	<-done
	if err := errors.Join(err, tr.Close()); err != nil {
		return err
	}
	fmt.Printf("%d events; %d of them written, compressed and indexed in %v\n", l.total, l.total-have, time.Since(began).Round(time.Second))
	return nil
}

func (l *lookupLog) write(ctx context.Context, have int, start time.Time) error {
	const batch = 2000
	buf := make([]byte, 0, batch*1200)
	lines := make([][]byte, 0, batch)
	for n := have; n < l.total; {
		buf, lines = buf[:0], lines[:0]
		for ; n < l.total && len(lines) < batch; n++ {
			at := len(buf)
			buf = l.record(n, start).AppendLine(buf, "n1")
			lines = append(lines, buf[at:len(buf):len(buf)])
		}
		if err := l.log.Append(ctx, lines...); err != nil {
			return err
		}
		if err := l.maintain(ctx); err != nil {
			return err
		}
	}
	return l.maintain(ctx)
}

func (l *lookupLog) maintain(ctx context.Context) error {
	for {
		more, err := l.log.Maintain(ctx, audit.RetainConfig{Compress: true}, time.Now())
		if err != nil || !more {
			return err
		}
	}
}

// sizes prints what the log and its index take on disk.
func (l *lookupLog) sizes() error {
	var lines, index int64
	err := l.files(func(path string, size int64) error {
		if filepath.Base(filepath.Dir(path)) == "index" {
			index += size
		} else {
			lines += size
		}
		return nil
	})
	fmt.Printf("on disk: segments %d MB, index %d MB\n\n", lines/1e6, index/1e6)
	return err
}

func (l *lookupLog) files(fn func(path string, size int64) error) error {
	return filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return fn(path, info.Size())
	})
}

// forget drops the files from the page cache, as far as the kernel lets go of them.
func (l *lookupLog) forget() error {
	return l.files(func(path string, _ int64) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(unix.Fsync(int(f.Fd())), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	})
}

func (l *lookupLog) measure(ctx context.Context) error {
	for _, m := range []struct {
		name   string
		filter trail.Filter
	}{
		{"a user with 1 of 20 events", trail.Filter{UserName: busyUser}},
		{"a user with 1 of 100,000 events", trail.Filter{UserName: rareUser}},
		{"a user with one event, the oldest", trail.Filter{UserName: onceUser}},
		{"a user who does not exist", trail.Filter{UserName: "nobody"}},
		{"everything", trail.Filter{}},
		{"one event by id, the oldest", trail.Filter{EventID: eventID(0)}},
		{"a secret", trail.Filter{ResourceName: "arn:aws:secretsmanager:eu-central-1:111122223333:secret:team-1/service-1/password-AbCdEf"}},
		{"denied events of a user in one hour", trail.Filter{UserName: busyUser, ErrorCode: "AccessDeniedException",
			From: time.Now().Add(-45 * 24 * time.Hour), To: time.Now().Add(-45*24*time.Hour + time.Hour)}},
	} {
		m.filter.Account, m.filter.Region = "111122223333", "eu-central-1"
		var cold, warm, cpu []time.Duration
		found := 0
		for range 5 {
			if err := l.forget(); err != nil {
				return err
			}
			before := cpuTime()
			times, n, err := l.pages(ctx, m.filter, 1)
			if err != nil {
				return err
			}
			cold, cpu, found = append(cold, times[0]), append(cpu, cpuTime()-before), n
			if times, _, err = l.pages(ctx, m.filter, 3); err != nil {
				return err
			}
			warm = append(warm, times[1:]...)
		}
		slices.Sort(cold)
		slices.Sort(warm)
		slices.Sort(cpu)
		fmt.Printf("%-38s %3d events  cold start: median %6.1f ms, worst %6.1f ms, CPU %6.1f ms   warm: median %5.1f ms\n",
			m.name, found, ms(cold[len(cold)/2]), ms(cold[len(cold)-1]), ms(cpu[len(cpu)/2]), ms(warm[len(warm)/2]))
	}
	return nil
}

// cpuTime is what this process has used: what the times would be on a machine without
// other work and with all files in memory.
func cpuTime() time.Duration {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// pages opens a trail and asks for the first page several times. The first time includes
// opening.
func (l *lookupLog) pages(ctx context.Context, f trail.Filter, times int) (took []time.Duration, found int, err error) {
	began := time.Now()
	tr, err := trail.Open(trail.Config{Log: l.log, LogDir: l.dir})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, tr.Close()) }()
	for range times {
		page, err := tr.Search(ctx, f, "", 50)
		if err != nil {
			return nil, 0, err
		}
		took = append(took, time.Since(began))
		found = len(page.Events)
		began = time.Now()
	}
	return took, found, nil
}
