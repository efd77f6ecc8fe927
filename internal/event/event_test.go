package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
	"arca/internal/event"
)

func TestFromLine(t *testing.T) {
	call := string(line("id-1", "eve", noon))
	service := record("id-2", "x", noon)
	service.EventType, service.EventSource = "AwsServiceEvent", "secretsmanager.amazonaws.com"
	own := record("id-3", "x", noon)
	own.EventSource = "arca"
	odd := record("i\"d", "x", noon)
	odd.Region = "ü\n"
	tests := []struct{ name, line, want string }{
		{"call", call, `{"version":"0","id":"id-1","detail-type":"AWS API Call via CloudTrail","source":"aws.secretsmanager","account":"111111111111",` +
			`"time":"2026-03-01T12:00:00Z","region":"eu-central-1","resources":[],"detail":` + call + `}`},
		{"service event", string(service.AppendLine(nil, "n")), `{"version":"0","id":"id-2","detail-type":"AWS Service Event via CloudTrail","source":"aws.secretsmanager",` +
			`"account":"111111111111","time":"2026-03-01T12:00:00Z","region":"eu-central-1","resources":[],"detail":` + string(service.AppendLine(nil, "n")) + `}`},
		{"another source", string(own.AppendLine(nil, "n")), `{"version":"0","id":"id-3","detail-type":"AWS API Call via CloudTrail","source":"arca",` +
			`"account":"111111111111","time":"2026-03-01T12:00:00Z","region":"eu-central-1","resources":[],"detail":` + string(own.AppendLine(nil, "n")) + `}`},
		{"what needs escaping", string(odd.AppendLine(nil, "n")), `{"version":"0","id":"i\"d","detail-type":"AWS API Call via CloudTrail","source":"aws.secretsmanager",` +
			`"account":"111111111111","time":"2026-03-01T12:00:00Z","region":"ü\n","resources":[],"detail":` + string(odd.AppendLine(nil, "n")) + `}`},
		{"hardly anything", `{"eventID":"a","eventSource":"b"}`, `{"version":"0","id":"a","detail-type":"AWS API Call via CloudTrail","source":"b","account":"","time":"","region":"",` +
			`"resources":[],"detail":{"eventID":"a","eventSource":"b"}}`},
		{"no id", `{"eventSource":"b"}`, ""}, {"no source", `{"eventID":"b"}`, ""}, {"not an object", `["eventID"]`, ""}, {"torn", call[:100], ""}, {"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := event.FromLine([]byte(tt.line))
			if (err == nil) != (tt.want != "") {
				t.Fatalf("FromLine = %v", err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzFromLine: whatever stands in the log, an event made of it is JSON whose detail
// is the line, and a pattern sees the same in the document put together of two as in
// the event read as a whole.
func FuzzFromLine(f *testing.F) {
	f.Add(line("id-1", "eve", noon))
	f.Add([]byte(`{"eventID":"\u0061","eventSource":"b.amazonaws.com","eventType":1,"resources":[{"ARN":"x"}],"eventID":"c"}`))
	f.Add([]byte(`{"eventID":"a","eventSource":"b"} `))
	f.Add([]byte(`{`))
	pattern, err := event.ParsePattern(`{"$or":[{"source":["aws.b"]},{"detail":{"resources":{"ARN":["x"]}}},{"detail":{"errorCode":[{"prefix":"A"}]}},{"region":[""]}]}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := event.FromLine(line)
		if err != nil {
			return
		}
		var env struct {
			Version, ID, Source, Account, Time, Region string
			DetailType                                 string `json:"detail-type"`
			Resources                                  []string
			Detail                                     json.RawMessage
		}
		if err := json.Unmarshal(got, &env); err != nil {
			t.Fatalf("%s is no event: %v", got, err)
		}
		if env.Version != "0" || env.ID == "" || env.Source == "" || !bytes.Equal(bytes.TrimSpace(env.Detail), bytes.TrimSpace(line)) {
			t.Errorf("event %s of line %s", got, line)
		}
		grafted, err := event.MatchLine(pattern, line)
		if whole := pattern.Match(got); err != nil || grafted != whole {
			t.Errorf("%s: %v (%v) on the line, %v on the event", got, grafted, err, whole)
		}
	})
}

func TestMarshalEvent(t *testing.T) {
	text, err := json.Marshal(event.Event{ID: "a", DetailType: "b", Source: "c", Time: noon.In(time.FixedZone("x", 3600))})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":"0","id":"a","detail-type":"b","source":"c","account":"","time":"2026-03-01T12:00:00Z","region":"","resources":[],"detail":{}}`
	if string(text) != want {
		t.Errorf("event %s, want %s", text, want)
	}
}

// BenchmarkLine is what one line costs with all ready-made alarms.
func BenchmarkLine(b *testing.B) {
	var alarms []event.Alarm
	for _, name := range event.ReadyNames() {
		a, _ := event.Ready(name)
		alarms = append(alarms, a)
	}
	c, err := event.NewCounting(b.TempDir()+"/alarms.json", 0, alarms...)
	if err != nil {
		b.Fatal(err)
	}
	r := record("id", "alice", noon)
	r.ErrorCode, r.ErrorMessage = "", ""
	l := r.AppendLine(nil, "n1")
	b.SetBytes(int64(len(l)))
	b.ReportAllocs()
	for b.Loop() {
		c.LineOf(l, noon)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func appendLines(t testing.TB, l *audit.Log, lines ...[]byte) {
	t.Helper()
	if err := l.Append(t.Context(), lines...); err != nil {
		t.Fatal(err)
	}
}

func pattern(names ...string) string {
	return fmt.Sprintf(`{"detail":{"userIdentity":{"userName":["%s"]}}}`, strings.Join(names, `","`))
}
