package compliance_test

import (
	"strings"
	"testing"
	"time"

	"arca/internal/compliance"
	"arca/internal/secrets"
)

const (
	day     = 24 * time.Hour
	yes     = compliance.Compliant
	no      = compliance.NonCompliant
	neither = compliance.NotApplicable
)

var created = time.Date(2026, 3, 1, 15, 4, 5, 0, time.UTC)

const ownKey = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// rotation is one that is on, as the given functions change it.
func rotation(set ...func(*secrets.Rotation)) *secrets.Rotation {
	r := &secrets.Rotation{Enabled: true, LambdaARN: "f", Rules: secrets.RotationRules{AfterDays: 30}, Next: at(created.Add(30 * day))}
	for _, s := range set {
		s(r)
	}
	return r
}

func at(t time.Time) secrets.Instant { return secrets.InstantOf(t) }

func TestRules(t *testing.T) {
	rules := func(r secrets.RotationRules) func(*secrets.Rotation) {
		return func(rot *secrets.Rotation) { rot.Rules = r }
	}
	for _, tc := range []struct {
		name string
		p    compliance.Parameters
		f    compliance.Facts
		now  time.Time // created when zero
		rule compliance.Rule
		want compliance.State
		// until is zero for a state that time does not change.
		until      time.Time
		annotation string
	}{
		{name: "never set up", rule: compliance.RotationEnabled, want: no, annotation: "Rotation is not enabled."},
		{name: "switched off", f: compliance.Facts{Rotation: rotation(func(r *secrets.Rotation) { r.Enabled = false })}, rule: compliance.RotationEnabled, want: no},
		{name: "on", f: compliance.Facts{Rotation: rotation()}, rule: compliance.RotationEnabled, want: yes},
		{name: "on, at the bound", p: compliance.Parameters{MaxRotationDays: 30}, f: compliance.Facts{Rotation: rotation()}, rule: compliance.RotationEnabled, want: yes},
		{name: "on, beyond the bound", p: compliance.Parameters{MaxRotationDays: 29}, f: compliance.Facts{Rotation: rotation()}, rule: compliance.RotationEnabled, want: no,
			annotation: "Up to 30 days lie between two rotations, and 29 days are allowed."},
		{name: "hours at the bound", p: compliance.Parameters{MaxRotationHours: 6}, f: compliance.Facts{Rotation: rotation(rules(secrets.RotationRules{Expression: "rate(6 hours)"}))}, rule: compliance.RotationEnabled, want: yes},
		{name: "hours beyond the bound", p: compliance.Parameters{MaxRotationHours: 5}, f: compliance.Facts{Rotation: rotation(rules(secrets.RotationRules{Expression: "rate(6 hours)"}))}, rule: compliance.RotationEnabled, want: no,
			annotation: "Up to 6 hours lie between two rotations, and 5 hours are allowed."},
		{name: "without a schedule, no bound", f: compliance.Facts{Rotation: rotation(rules(secrets.RotationRules{}))}, rule: compliance.RotationEnabled, want: yes},
		{name: "without a schedule, bound", p: compliance.Parameters{MaxRotationDays: 1000}, f: compliance.Facts{Rotation: rotation(rules(secrets.RotationRules{}))}, rule: compliance.RotationEnabled, want: no,
			annotation: "Rotation has no schedule."},

		{name: "success: off", rule: compliance.ScheduledSuccess, want: neither},
		{name: "success: ahead", f: compliance.Facts{Rotation: rotation()}, rule: compliance.ScheduledSuccess, want: yes, until: created.Add(30 * day),
			annotation: "The next rotation is due by 2026-03-31T15:04:05Z."},
		{name: "success: last moment", f: compliance.Facts{Rotation: rotation()}, now: created.Add(30 * day), rule: compliance.ScheduledSuccess, want: yes, until: created.Add(30 * day)},
		{name: "success: never begun", f: compliance.Facts{Rotation: rotation()}, now: created.Add(30*day + time.Millisecond), rule: compliance.ScheduledSuccess, want: no,
			annotation: "The rotation that was due by 2026-03-31T15:04:05Z has not succeeded."},
		{name: "success: begun, in its window", f: compliance.Facts{Rotation: rotation(func(r *secrets.Rotation) {
			r.Missed, r.Next = r.Next, at(created.Add(60*day))
		})}, now: created.Add(29 * day), rule: compliance.ScheduledSuccess, want: yes, until: created.Add(30 * day)},
		{name: "success: begun and failed", f: compliance.Facts{Rotation: rotation(func(r *secrets.Rotation) {
			r.Missed, r.Next = r.Next, at(created.Add(60*day))
		})}, now: created.Add(31 * day), rule: compliance.ScheduledSuccess, want: no},
		{name: "success: no schedule", f: compliance.Facts{Rotation: rotation(func(r *secrets.Rotation) { r.Next = 0 })}, rule: compliance.ScheduledSuccess, want: neither},

		{name: "periodic: new", rule: compliance.PeriodicRotation, want: yes, until: created.Add(90 * day)},
		{name: "periodic: last moment", now: created.Add(90 * day), rule: compliance.PeriodicRotation, want: yes, until: created.Add(90 * day)},
		{name: "periodic: never rotated", now: created.Add(90*day + time.Millisecond), rule: compliance.PeriodicRotation, want: no,
			annotation: "The secret was created on 2026-03-01 and never rotated; 90 days are allowed."},
		{name: "periodic: rotated since", f: compliance.Facts{Rotation: rotation(func(r *secrets.Rotation) { r.Last = at(created.Add(60 * day)) })},
			now: created.Add(100 * day), rule: compliance.PeriodicRotation, want: yes, until: created.Add(150 * day)},
		{name: "periodic: counts though rotation is off now", f: compliance.Facts{Rotation: rotation(func(r *secrets.Rotation) {
			r.Last, r.Enabled = at(created.Add(60*day)), false
		})}, now: created.Add(100 * day), rule: compliance.PeriodicRotation, want: yes, until: created.Add(150 * day)},
		{name: "periodic: own bound", p: compliance.Parameters{MaxDaysSinceRotation: 180}, now: created.Add(100 * day), rule: compliance.PeriodicRotation, want: yes, until: created.Add(180 * day)},

		{name: "unused: new", rule: compliance.Unused, want: yes, until: time.Date(2026, 5, 30, 23, 59, 59, 999e6, time.UTC)},
		{name: "unused: the 90th day", now: created.Truncate(day).Add(91*day - time.Millisecond), rule: compliance.Unused, want: yes, until: time.Date(2026, 5, 30, 23, 59, 59, 999e6, time.UTC)},
		{name: "unused: the 91st day", now: created.Truncate(day).Add(91 * day), rule: compliance.Unused, want: no,
			annotation: "The secret was created on 2026-03-01 and never read; 90 days are allowed."},
		{name: "unused: read", f: compliance.Facts{LastRead: created.Truncate(day).Add(50 * day)}, now: created.Add(100 * day), rule: compliance.Unused, want: yes,
			until: created.Truncate(day).Add(141*day - time.Millisecond), annotation: "The secret was last read on 2026-04-20; 90 days are allowed."},
		{name: "unused: own bound", p: compliance.Parameters{UnusedForDays: 1}, now: created.Add(2 * day), rule: compliance.Unused, want: no},

		{name: "key: default", rule: compliance.UsingCMK, want: no, annotation: "The secret is encrypted with aws/secretsmanager."},
		{name: "key: own", f: compliance.Facts{KeyARN: ownKey}, rule: compliance.UsingCMK, want: yes},
		{name: "key: listed", p: compliance.Parameters{KMSKeyARNs: []string{"arn:aws:kms:eu-west-1:123456789012:key/x", ownKey}}, f: compliance.Facts{KeyARN: ownKey}, rule: compliance.UsingCMK, want: yes},
		{name: "key: not listed", p: compliance.Parameters{KMSKeyARNs: []string{ownKey + "0"}}, f: compliance.Facts{KeyARN: ownKey}, rule: compliance.UsingCMK, want: no,
			annotation: "The key of the secret is not among kmsKeyArns: " + ownKey},
		{name: "key: a name that answers to no key, and is long", p: compliance.Parameters{KMSKeyARNs: []string{ownKey}}, f: compliance.Facts{KeyARN: strings.Repeat("k", 2048)}, rule: compliance.UsingCMK, want: no},

		{name: "deleted", f: compliance.Facts{Deleted: true, KeyARN: ownKey}, rule: compliance.UsingCMK, want: neither, annotation: "The secret is scheduled for deletion."},
		{name: "deleted, periodic", f: compliance.Facts{Deleted: true}, now: created.Add(400 * day), rule: compliance.PeriodicRotation, want: neither},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.f.Created = created
			if tc.now.IsZero() {
				tc.now = created
			}
			got := compliance.Judge(tc.p, tc.f, tc.now)[tc.rule]
			if got.State != tc.want || !got.Until.Equal(tc.until) {
				t.Errorf("%s = %v until %v, want %v until %v", tc.rule, got.State, got.Until, tc.want, tc.until)
			}
			if tc.annotation != "" && got.Annotation != tc.annotation {
				t.Errorf("annotation %q, want %q", got.Annotation, tc.annotation)
			}
			if len(got.Annotation) > 256 {
				t.Errorf("annotation of %d bytes", len(got.Annotation))
			}
		})
	}
}

// TestUntil: a state holds until the moment that is said, and the time alone has changed
// it right after.
func TestUntil(t *testing.T) {
	f := compliance.Facts{
		Created: created, LastRead: created.Truncate(day).Add(7 * day), KeyARN: ownKey,
		Rotation: rotation(func(r *secrets.Rotation) { r.Last = at(created.Add(5 * day)) }),
	}
	for n := range 400 {
		now := created.Add(time.Duration(n) * 13 * time.Hour)
		for rule, v := range compliance.Judge(compliance.Parameters{}, f, now) {
			if v.Until.IsZero() {
				continue
			}
			if v.Until.Before(now) {
				t.Errorf("%s at %v holds until %v", rule, now, v.Until)
			}
			if then := compliance.Judge(compliance.Parameters{}, f, v.Until)[rule]; then.State != v.State {
				t.Errorf("%s is %v at %v and %v at %v, until when it was to hold", rule, v.State, now, then.State, v.Until)
			}
			if then := compliance.Judge(compliance.Parameters{}, f, v.Until.Add(time.Millisecond))[rule]; then.State == v.State {
				t.Errorf("%s is still %v after %v", rule, v.State, v.Until)
			}
		}
	}
}

func TestLongest(t *testing.T) {
	for _, tc := range []struct {
		rules secrets.RotationRules
		want  time.Duration
	}{
		{secrets.RotationRules{AfterDays: 1}, day},
		{secrets.RotationRules{AfterDays: 1000}, 1000 * day},
		{secrets.RotationRules{Expression: "rate(4 hours)"}, 4 * time.Hour},
		{secrets.RotationRules{Expression: "rate(10 days)", Duration: "3h"}, 10 * day},
		{secrets.RotationRules{Expression: "cron(0 8/8 * * ? *)"}, 16 * time.Hour}, // 08, 16, and 08 again
		{secrets.RotationRules{Expression: "cron(0 18 ? * SAT *)"}, 7 * day},
		{secrets.RotationRules{Expression: "cron(0 16 1,15 * ? *)"}, 17 * day},
		{secrets.RotationRules{Expression: "cron(0 17 L * ? *)"}, 31 * day},
		{secrets.RotationRules{Expression: "cron(0 1 ? 1/3 SUN#1 *)"}, 98 * day},
		{secrets.RotationRules{Expression: "cron(0 0 1 1 ? *)"}, 366 * day},
	} {
		got, ok := compliance.Longest(tc.rules)
		if !ok || got != tc.want {
			t.Errorf("Longest(%+v) = %v, %v, want %v", tc.rules, got, ok, tc.want)
		}
	}
	for _, none := range []secrets.RotationRules{{}, {Expression: "rate(nothing)"}} {
		if got, ok := compliance.Longest(none); ok {
			t.Errorf("Longest(%+v) = %v, want none", none, got)
		}
	}
}

func TestParse(t *testing.T) {
	for _, r := range compliance.Rules() {
		for _, text := range []string{string(r), r.Identifier()} {
			if got, err := compliance.ParseRule(text); got != r || err != nil {
				t.Errorf("ParseRule(%q) = %v, %v", text, got, err)
			}
		}
	}
	if r, err := compliance.ParseRule("secretsmanager"); err == nil {
		t.Errorf("ParseRule took %q for %v", "secretsmanager", r)
	}
	for _, st := range []compliance.State{yes, no, neither} {
		if got, err := compliance.ParseState(strings.ToLower(st.String())); got != st || err != nil {
			t.Errorf("ParseState(%v) = %v, %v", st, got, err)
		}
	}
	if st, err := compliance.ParseState("UNKNOWN"); err == nil {
		t.Errorf("ParseState took UNKNOWN for %v", st)
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    compliance.Parameters
		want string // part of the error; empty for none
	}{
		{"zero", compliance.Parameters{}, ""},
		{"all", compliance.Parameters{MaxRotationDays: 30, MaxDaysSinceRotation: 180, UnusedForDays: 1, KMSKeyARNs: []string{ownKey}}, ""},
		{"negative", compliance.Parameters{UnusedForDays: -1}, "unused_for_days"},
		{"too many days", compliance.Parameters{MaxDaysSinceRotation: 1 << 40}, "max_days_since_rotation"},
		{"both", compliance.Parameters{MaxRotationDays: 1, MaxRotationHours: 1}, "exclude"},
		{"alias", compliance.Parameters{KMSKeyARNs: []string{"arn:aws:kms:eu-west-1:123456789012:alias/x"}}, "kms_key_arns"},
		{"no ARN", compliance.Parameters{KMSKeyARNs: []string{"key/x"}}, "kms_key_arns"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.p.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Validate = %v, want %q", err, tc.want)
			}
		})
	}
}

func BenchmarkLongest(b *testing.B) {
	for _, e := range []string{"rate(4 hours)", "cron(0 0/4 * * ? *)", "cron(0 1 ? 1/3 SUN#1 *)", "cron(0 0 28 2 ? *)"} {
		b.Run(e, func(b *testing.B) {
			for b.Loop() {
				if _, ok := compliance.Longest(secrets.RotationRules{Expression: e}); !ok {
					b.Fatal("no schedule")
				}
			}
		})
	}
}
