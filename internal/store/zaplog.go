package store

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapCore hands etcd's warnings and errors to slog. What etcd reports below that is
// of use to those who run etcd by hand.
type zapCore struct {
	log  *slog.Logger
	with []zapcore.Field
}

func newZapLogger(log *slog.Logger) *zap.Logger {
	return zap.New(zapCore{log: log})
}

func (c zapCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{log: c.log, with: slices.Concat(c.with, fields)}
}

func (c zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) || advice(e.Message) {
		return ce
	}
	return ce.AddCore(e, c)
}

// advice recognises what etcd warns of at every start although it does not apply: no
// client port is open, etcd's own users are not used, and a young member has no
// snapshot yet to read a schema version from.
func advice(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed",
		"Failed to detect schema version",
		"failed to update storage version":
		return true
	}
	// A member that starts tries to lead before it has read all of its log again, and
	// succeeds with the next tick.
	return strings.HasSuffix(message, "since there are still pending configuration changes to apply")
}

func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.with {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	switch cause, _ := enc.Fields["error"].(string); {
	case strings.Contains(cause, "interrupted due to stop signal"):
		return nil // a compaction under way when the member stops; the next start finishes it
	case strings.HasPrefix(e.Message, "failed to publish local member") && strings.Contains(cause, "too many requests"):
		// A member with much of its log to read again tries without a pause, thousands of
		// times within milliseconds, until it has.
		return nil
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, slog.Attr{Key: "etcd", Value: slog.GroupValue(attrs...)})
	return nil
}

func (c zapCore) Sync() error { return nil }
