package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"arca/internal/api/cloudtrailapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/trail"
)

const (
	actionLookup = "cloudtrail:LookupEvents"

	// keptDays is how far back events can be looked up.
	keptDays = 90

	maxResults    = 50
	maxValueChars = 2000
	maxTokenBytes = 32 << 10
)

// LookupEvents returns a page of events, the newest first.
func (s *Service) LookupEvents(ctx context.Context, c *call.Call, in *cloudtrailapi.LookupEventsInput) (*cloudtrailapi.LookupEventsOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: actionLookup, Resource: "*"}); err != nil {
		return nil, err
	}
	if !s.limit.allow(c) {
		return nil, cloudtrailapi.ThrottlingException.Errorf("Rate exceeded")
	}
	limit, err := resultsWanted(in)
	if err != nil {
		return nil, err
	}
	f, err := filter(c, in)
	if err != nil {
		return nil, err
	}
	q := question(c, in)
	var at trail.Position
	if in.NextToken != nil {
		if at, err = s.position(q, *in.NextToken); err != nil {
			return nil, err
		}
	}
	if in.EventCategory != nil {
		// The one category to ask for: Insights events, which no trail collects here.
		return &cloudtrailapi.LookupEventsOutput{Events: []cloudtrailapi.Event{}}, nil
	}
	page, err := s.search(ctx, f, at, limit)
	if errors.Is(err, trail.ErrPosition) {
		return nil, invalidToken()
	}
	if err != nil {
		return nil, fmt.Errorf("look up events: %w", err)
	}
	out := &cloudtrailapi.LookupEventsOutput{Events: make([]cloudtrailapi.Event, len(page.Events))}
	for i := range page.Events {
		out.Events[i] = entry(&page.Events[i])
	}
	if page.More {
		token, err := paging.Seal(s.store, q, string(page.Next))
		if err != nil {
			return nil, err
		}
		out.NextToken = &token
	}
	return out, nil
}

// search waits for its turn, and searches.
func (s *Service) search(ctx context.Context, f *trail.Filter, at trail.Position, limit int) (trail.Page, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return trail.Page{}, context.Cause(ctx)
	}
	defer func() { <-s.slots }()
	return s.trail.Search(ctx, *f, at, limit)
}

func resultsWanted(in *cloudtrailapi.LookupEventsInput) (int, error) {
	if in.MaxResults == nil {
		return maxResults, nil
	}
	if n := *in.MaxResults; n < 1 || n > maxResults {
		return 0, cloudtrailapi.InvalidMaxResultsException.Errorf("A maximum results value of %d is invalid. Specify max results between 1 and %d.", n, maxResults)
	}
	return int(*in.MaxResults), nil
}

// filter is what the request asks for, of what the caller may see.
func filter(c *call.Call, in *cloudtrailapi.LookupEventsInput) (*trail.Filter, error) {
	f := &trail.Filter{Account: c.Caller.Account, Region: c.Region}
	oldest := c.Now.Add(-keptDays * 24 * time.Hour)
	if in.StartTime != nil && in.EndTime != nil && in.StartTime.After(*in.EndTime) {
		return nil, cloudtrailapi.InvalidTimeRangeException.Errorf("The start time must not be after the end time.")
	}
	if in.EndTime != nil {
		if in.EndTime.Before(oldest) {
			return nil, cloudtrailapi.InvalidTimeRangeException.Errorf("The time range is outside of the last %d days.", keptDays)
		}
		f.To = *in.EndTime
	}
	f.From = oldest
	if in.StartTime != nil && in.StartTime.After(oldest) {
		f.From = *in.StartTime
	}
	if len(in.LookupAttributes) > 1 {
		return nil, cloudtrailapi.InvalidLookupAttributesException.Errorf("You can specify only one lookup attribute.")
	}
	for _, a := range in.LookupAttributes {
		if n := utf8.RuneCountInString(a.AttributeValue); n < 1 || n > maxValueChars {
			return nil, cloudtrailapi.InvalidLookupAttributesException.Errorf("The value of the lookup attribute must have 1 to %d characters.", maxValueChars)
		}
		if err := f.Set(a.AttributeKey, a.AttributeValue); err != nil {
			return nil, cloudtrailapi.InvalidLookupAttributesException.Wrap(err, fmt.Sprintf("The lookup attribute %s is not valid.", shown(a.AttributeKey)))
		}
	}
	return f, nil
}

// shown is a value of the request in an error text, cut to what a person reads.
func shown(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%.*q…", most, s)
	}
	return fmt.Sprintf("%q", s)
}

// question is what a token is bound to: everything but the size of the page.
func question(c *call.Call, in *cloudtrailapi.LookupEventsInput) paging.Question {
	parts := []string{"LookupEvents", c.Caller.Account, c.Region, instant(in.StartTime), instant(in.EndTime)}
	if in.EventCategory != nil {
		parts = append(parts, "category", *in.EventCategory)
	}
	for _, a := range in.LookupAttributes {
		parts = append(parts, a.AttributeKey, a.AttributeValue)
	}
	return paging.QuestionOf(parts...)
}

func instant(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (s *Service) position(q paging.Question, token string) (trail.Position, error) {
	if len(token) > maxTokenBytes {
		return "", invalidToken()
	}
	at, err := paging.Open(s.store, q, token)
	if errors.Is(err, paging.ErrToken) {
		return "", invalidToken()
	}
	return trail.Position(at), err
}

func invalidToken() error {
	return cloudtrailapi.InvalidNextTokenException.Errorf("Invalid token or token that was previously used in a request with different parameters.")
}

// entry is an event as the answer has it. What an event does not have is left out.
func entry(e *trail.Event) cloudtrailapi.Event {
	readOnly := "false"
	if e.ReadOnly {
		readOnly = "true"
	}
	out := cloudtrailapi.Event{
		EventId: &e.ID, EventName: &e.Name, ReadOnly: &readOnly, EventTime: &e.Time, EventSource: &e.Source,
		Resources:       make([]cloudtrailapi.Resource, len(e.Resources)),
		CloudTrailEvent: new(string(trail.WithoutOwn(e.Raw))),
	}
	if e.AccessKeyID != "" {
		out.AccessKeyId = &e.AccessKeyID
	}
	if e.UserName != "" {
		out.Username = &e.UserName
	}
	for i := range e.Resources {
		out.Resources[i] = cloudtrailapi.Resource{ResourceType: &e.Resources[i].Type, ResourceName: &e.Resources[i].Name}
		if e.Resources[i].Type == "" {
			out.Resources[i].ResourceType = nil
		}
	}
	return out
}
