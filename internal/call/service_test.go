package call_test

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/call"
	"arca/internal/store"
)

var discard = slog.New(slog.DiscardHandler)

// TestServiceEventLine: the whole record of what nobody called for.
func TestServiceEventLine(t *testing.T) {
	b := newBed(t)
	rotation := event("RotationStarted")
	rotation.RequestID = "Rotation-" + secretARN + "-11111111-2222-3333-4444-555555555555"
	bare := call.ServiceEvent{Source: "arca", Name: "Other", Account: account}
	ofKey := call.ServiceEvent{
		Source: "kms.amazonaws.com", Name: "DeleteKey", Account: account, Region: "eu-west-1", ResourceARN: "arn:k", ResourceType: "AWS::KMS::Key",
		Details: []byte(`{"keyId":"k"}`), InvokedBy: "AWS Internal",
	}
	err := b.d.ServiceUpdate(t.Context(), start.Add(time.Hour), func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		b.notes.Put(tx, noteKey("a"), &note{"a"})
		emit(rotation)
		emit(bare)
		emit(ofKey)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := b.lines(t)
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3", len(lines))
	}
	if uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`); !uuid.MatchString(lines[1].RequestID) || !uuid.MatchString(lines[1].EventID) {
		t.Errorf("request id %q and event id %q, want UUIDs", lines[1].RequestID, lines[1].EventID)
	}
	got := object(t, lines[0].raw)
	delete(got, "eventID")
	if changes, _ := got["arca"].(map[string]any)["changes"].([]any); len(changes) != 1 {
		t.Errorf("changes %v", changes)
	}
	delete(got, "arca")
	want := object(t, `{"eventVersion":"1.11","userIdentity":{"accountId":"123456789012","invokedBy":"secretsmanager.amazonaws.com"},
		"eventTime":"2026-05-04T04:02:01Z","eventSource":"secretsmanager.amazonaws.com","eventName":"RotationStarted","awsRegion":"eu-west-1",
		"sourceIPAddress":"secretsmanager.amazonaws.com","userAgent":"secretsmanager.amazonaws.com","requestParameters":null,"responseElements":null,
		"additionalEventData":{"SecretId":"`+secretARN+`"},"requestID":"`+rotation.RequestID+`","readOnly":false,"eventType":"AwsServiceEvent",
		"managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management"}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if lines[1].AdditionalData != nil || len(lines[1].Arca.Changes) != 0 {
		t.Errorf("second line %s", lines[1].raw)
	}
	// KMS shows its keys among the resources, and what happened as details.
	got = object(t, lines[2].raw)
	delete(got, "arca")
	delete(got, "eventID")
	delete(got, "requestID")
	want = object(t, `{"eventVersion":"1.11","userIdentity":{"accountId":"123456789012","invokedBy":"AWS Internal"},
		"eventTime":"2026-05-04T04:02:01Z","eventSource":"kms.amazonaws.com","eventName":"DeleteKey","awsRegion":"eu-west-1",
		"sourceIPAddress":"AWS Internal","userAgent":"AWS Internal","requestParameters":null,"responseElements":null,
		"serviceEventDetails":{"keyId":"k"},"readOnly":false,"resources":[{"accountId":"123456789012","type":"AWS::KMS::Key","ARN":"arn:k"}],
		"eventType":"AwsServiceEvent","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management"}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line about a key (-want +got):\n%s", diff)
	}
}

func TestServiceUpdate(t *testing.T) {
	boom := errors.New("boom")
	type emit = func(call.ServiceEvent)
	for _, tt := range []struct {
		name   string
		set    func(b *bed)
		fn     func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error
		err    error
		saved  bool
		events []string
	}{
		{"change and events", nil, func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
			b.notes.Put(tx, noteKey("a"), &note{"a"})
			emit(event("Start"))
			emit(event("End"))
			return nil
		}, nil, true, []string{"Start+", "End"}},
		{"runs again", nil, func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
			b.notes.Put(tx, noteKey("a"), &note{"a"})
			emit(event(fmt.Sprint("Run", run)))
			if run < 3 {
				b.conflict(t, "a")
			}
			return nil
		}, nil, true, []string{"Run3+"}},
		{"nothing to do", nil, func(*testing.T, *bed, *store.Tx, emit, int) error { return nil }, nil, false, []string{}},
		{"change without event", nil, func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
			b.notes.Put(tx, noteKey("a"), &note{"a"})
			return nil
		}, nil, false, []string{}},
		{"event without change", nil, func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
			emit(event("Never"))
			return nil
		}, nil, false, []string{}},
		{"given up", nil, func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
			b.notes.Put(tx, noteKey("a"), &note{"a"})
			emit(event("Never"))
			return boom
		}, boom, false, []string{}},
		{"refused by the gate", func(b *bed) { b.gate = func(bool) error { return boom } },
			func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
				t.Error("it ran")
				return nil
			}, boom, false, []string{}},
		{"commit refused", func(b *bed) { b.commit = once(store.FaultNotApplied) },
			func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
				b.notes.Put(tx, noteKey("a"), &note{"a"})
				emit(event("Never"))
				return nil
			}, store.ErrUnavailable, false, []string{}},
		{"reply lost", func(b *bed) { b.commit = once(store.FaultReplyLost) },
			func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
				b.notes.Put(tx, noteKey("a"), &note{"a"})
				emit(event("Once"))
				return nil
			}, nil, true, []string{"Once+"}},
		{"outcome unknown", func(b *bed) { b.commit = once(store.FaultUnknown) },
			func(t *testing.T, b *bed, tx *store.Tx, emit emit, run int) error {
				b.notes.Put(tx, noteKey("a"), &note{"a"})
				emit(event("Once"))
				return nil
			}, store.ErrUnknown, true, []string{"Once+"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, func(b *bed) {
				if tt.set != nil {
					tt.set(b)
				}
			})
			run := 0
			err := b.d.ServiceUpdate(t.Context(), start, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
				run++
				return tt.fn(t, b, tx, emit, run)
			})
			if !errors.Is(err, tt.err) || err != nil && tt.err == nil {
				t.Errorf("ServiceUpdate = %v, want %v", err, tt.err)
			}
			b.mustRecover(t)
			if tt.saved {
				// A change of unknown outcome shows when the store has learnt of it.
				eventually(t, "the change shows", func() bool { return b.has(t, "a") })
			} else if b.has(t, "a") {
				t.Error("stored, though it should not be")
			}
			b.wantEvents(t, tt.events...)
			b.restart(t)
			b.mustRecover(t)
			b.wantEvents(t, tt.events...)
		})
	}
}

// Events that could not be written when they were due are written before anything new.
func TestServiceUpdateSettles(t *testing.T) {
	b := newBed(t)
	change := func(name string) error {
		return b.d.ServiceUpdate(t.Context(), start, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
			b.notes.Put(tx, noteKey(name), &note{name})
			emit(event(name))
			return nil
		})
	}
	b.breakLog()
	if err := change("first"); err == nil {
		t.Error("ServiceUpdate = nil without its events on disk")
	}
	b.mendLog(t)
	if err := change("second"); err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, "first+", "second+")
}
