package call

import (
	"log/slog"
	"strings"
)

// NewQuiet gives a sampling log and what it has logged.
func NewQuiet() (log func(msg string), text func() string) {
	var q quiet
	var out strings.Builder
	to := slog.New(slog.NewTextHandler(&out, nil))
	return func(msg string) { q.log(to, slog.LevelWarn, msg) }, out.String
}
