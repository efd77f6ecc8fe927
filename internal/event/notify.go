package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The source and type of notifications are those of CloudWatch, so that what handles
// its alarms handles these.
const (
	alarmSource = "aws.cloudwatch"
	alarmType   = "CloudWatch Alarm State Change"
)

// alarmDetail is the detail of a notification.
type alarmDetail struct {
	AlarmName     string             `json:"alarmName"`
	State         alarmState         `json:"state"`
	PreviousState alarmState         `json:"previousState"`
	Configuration alarmConfiguration `json:"configuration"`
	// Group is the value of the member that events are grouped by.
	Group string `json:"group,omitempty"`
	// Notification counts those of one alarm: 1 when it is raised.
	Notification int `json:"notification"`
	// Events are the latest that counted, oldest first.
	Events []alarmEvent `json:"events"`
}

type alarmState struct {
	Value     string `json:"value"`
	Reason    string `json:"reason,omitempty"`
	Timestamp string `json:"timestamp"`
}

type alarmConfiguration struct {
	Description   string `json:"description,omitempty"`
	Count         int    `json:"count"`
	PeriodSeconds int    `json:"periodSeconds"`
	GroupBy       string `json:"groupBy,omitempty"`
}

type alarmEvent struct {
	EventID   string `json:"eventID"`
	EventTime string `json:"eventTime"`
	EventName string `json:"eventName"`
	Principal string `json:"principal,omitempty"`
	SourceIP  string `json:"sourceIPAddress,omitempty"`
	ErrorCode string `json:"errorCode,omitempty"`
	Resource  string `json:"resource,omitempty"`
}

// event makes the notification of a change. Its id follows from what happened, so
// that the same change found twice, after a crash, is one to the receiver.
func (ch *change) event(account, region string) (Event, error) {
	a := ch.alarm
	d := alarmDetail{
		AlarmName:     a.Name,
		State:         alarmState{Value: "OK", Timestamp: stamp(ch.at)},
		PreviousState: alarmState{Value: "ALARM", Timestamp: stamp(ch.before)},
		Configuration: alarmConfiguration{a.Description, a.Count, int(a.Period / time.Second), a.GroupBy},
		Group:         ch.w.Group,
		Notification:  ch.w.Told,
		Events:        []alarmEvent{},
	}
	switch {
	case ch.raised && ch.w.Told > 1:
		d.State.Value, d.State.Reason = "ALARM", "events go on matching"
	case ch.raised:
		d.State.Value, d.State.Reason = "ALARM", fmt.Sprintf("%d matched within %v", a.Count, a.Period)
		d.PreviousState.Value = "OK"
	case ch.cleared:
		d.State.Reason = "an event said that it is over"
	default:
		d.State.Reason = fmt.Sprintf("nothing has matched for %v", ch.at.Sub(ch.w.newest()).Round(time.Second))
	}
	for _, m := range ch.w.Matches[max(0, len(ch.w.Matches)-maxShown):] {
		d.Events = append(d.Events, alarmEvent{m.EventID, m.EventTime, m.EventName, m.Principal, m.SourceIP, m.ErrorCode, m.Resource})
	}
	text, err := json.Marshal(d)
	if err != nil {
		return Event{}, fmt.Errorf("notify of alarm %s: %w", a.Name, err)
	}
	sum := sha256.Sum256([]byte(hash("alarm", a.Name, a.digest, ch.w.Group, ch.w.Cause, d.State.Value, fmt.Sprint(ch.w.Told))))
	return Event{
		ID: uuid([16]byte(sum[:16]), 8), DetailType: alarmType, Source: alarmSource, Account: account, Region: region, Time: ch.at,
		Resources: []string{"arn:aws:cloudwatch:" + region + ":" + account + ":alarm:" + a.Name}, Detail: text,
	}, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// hash of several texts, each told apart from the next.
func hash(texts ...string) string {
	h := sha256.New()
	for _, s := range texts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(s), s) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

// matchOf takes from an event what a notification shows of it.
func matchOf(d *document, counted time.Time) match {
	detail := d.member(0, "detail")
	identity := d.member(detail, "userIdentity")
	m := match{
		Counted:   counted,
		EventID:   shortID(d.string(d.member(0, "id"))),
		EventTime: short(d.string(d.member(0, "time")), maxShownBytes),
		EventName: short(d.string(d.member(detail, "eventName")), maxShownBytes),
		SourceIP:  short(d.string(d.member(detail, "sourceIPAddress")), maxShownBytes),
		ErrorCode: short(d.string(d.member(detail, "errorCode")), maxShownBytes),
	}
	for _, name := range []string{"arn", "invokedBy", "accountId"} {
		if m.Principal == "" {
			m.Principal = short(d.string(d.member(identity, name)), maxNameBytes)
		}
	}
	if m.EventName == "" {
		m.EventName = short(d.string(d.member(0, "detail-type")), maxShownBytes)
	}
	for _, path := range [][]string{{"resources", "ARN"}, {"requestParameters", "secretId"}, {"additionalEventData", "SecretId"}, {"resourceId"}} {
		if m.Resource == "" {
			m.Resource = short(d.string(d.find(detail, path...)), maxNameBytes)
		}
	}
	return m
}

// short cuts what is shown and kept, and makes it text that a file gives back as it was.
func short(s string, most int) string {
	if len(s) > most {
		i := most
		for i > 0 && !startsRune(s[i]) {
			i--
		}
		s = s[:i]
	}
	return strings.ToValidUTF8(s, "?")
}

// shortID is short for ids, of which two must not become one.
func shortID(id string) string {
	if len(id) > maxShownBytes {
		return hash(id)
	}
	return short(id, maxShownBytes)
}

func startsRune(c byte) bool { return c&0xc0 != 0x80 }

// eventTime is the time in an event's envelope.
func eventTime(d *document) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, d.string(d.member(0, "time")))
	return t, err == nil
}

// sortChanges makes the order of notifications the same each time: windows are kept
// in a map.
func sortChanges(changes []*change) {
	slices.SortFunc(changes, func(a, b *change) int {
		switch {
		case a.w.Group < b.w.Group:
			return -1
		case a.w.Group > b.w.Group:
			return 1
		}
		return 0
	})
}
