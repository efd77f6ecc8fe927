package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"arca/internal/api/arcaapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/trail"
)

const (
	// eventsPerPage is how many events SearchAuditLog returns unless told otherwise.
	eventsPerPage = 100
	// recordedFor is how long the record of a search stands for its further pages.
	recordedFor = time.Hour
)

// SearchAuditLog finds events of all accounts. With Follow it returns the newest events,
// the oldest of them first, and from then on, with each NextToken, what has come since:
// there is always a NextToken, and an empty page when nothing has come.
//
// The first page is recorded, with all that was asked; further ones are once an hour.
// What they show was asked for then. Without that a reader who follows the log would make
// the lines that he then reads.
func (s *Service) SearchAuditLog(ctx context.Context, c *call.Call, in *arcaapi.SearchAuditLogInput) (*arcaapi.SearchAuditLogOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:SearchAuditLog", Resource: "*"}); err != nil {
		return nil, err
	}
	follow, forward := said(in.Follow), said(in.OldestFirst)
	if follow && forward {
		return nil, arcaapi.InvalidParameterException.Errorf("Follow and OldestFirst cannot be used together.")
	}
	if ip := text(in.SourceIpAddress); strings.Contains(ip, "/") {
		if _, err := netip.ParsePrefix(ip); err != nil {
			return nil, arcaapi.InvalidParameterException.Errorf("The network %q is not of the form 10.0.0.0/8.", ip)
		}
	}
	most := eventsPerPage
	if in.MaxResults != nil {
		most = int(*in.MaxResults)
	}
	asked, err := searchQuestion(in)
	if err != nil {
		return nil, err
	}
	at, recorded, err := s.openSearch(in.NextToken, asked)
	if err != nil {
		return nil, err
	}
	if at != "" && c.Now.Sub(recorded) < recordedFor {
		c.OmitRecord("the search was recorded with its first page")
	} else {
		recorded = c.Now
	}
	filter := searchFilter(in)
	var page trail.Page
	switch {
	case follow && at == "":
		end := s.audit.Trail.End()
		page, err = s.audit.Trail.Search(ctx, filter, end, most)
		slices.Reverse(page.Events)
		page.Next, page.More = end, true
	case follow:
		page, err = s.audit.Trail.SearchForward(ctx, filter, at, most)
		page.More = true
	case forward:
		page, err = s.audit.Trail.SearchForward(ctx, filter, at, most)
	default:
		page, err = s.audit.Trail.Search(ctx, filter, at, most)
	}
	if errors.Is(err, trail.ErrPosition) {
		return nil, arcaapi.InvalidParameterException.Errorf("The NextToken value is invalid.")
	}
	if err != nil {
		return nil, err
	}
	out := &arcaapi.SearchAuditLogOutput{Events: make([]arcaapi.AuditEvent, 0, len(page.Events))}
	for i := range page.Events {
		e := &page.Events[i]
		out.Events = append(out.Events, arcaapi.AuditEvent{
			Node: &e.Node, Line: new(int64(e.Line)), Record: new(string(e.Raw)),
		})
	}
	if page.More {
		token, err := paging.Seal(s.store, asked, strconv.FormatInt(recorded.Unix(), 10)+" "+string(page.Next))
		if err != nil {
			return nil, err
		}
		out.NextToken = &token
	}
	return out, nil
}

// openSearch is where a search goes on, "" at its beginning, and when it was last recorded.
func (s *Service) openSearch(token *string, asked paging.Question) (trail.Position, time.Time, error) {
	text, err := s.openPage(token, asked)
	if err != nil || text == "" {
		return "", time.Time{}, err
	}
	seconds, at, _ := strings.Cut(text, " ")
	recorded, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read page token: %w", err) // it was sealed here
	}
	return trail.Position(at), time.Unix(recorded, 0), nil
}

// searchQuestion is all that narrows a search; only the size of pages may change on the way.
func searchQuestion(in *arcaapi.SearchAuditLogInput) (paging.Question, error) {
	narrow := *in
	narrow.NextToken, narrow.MaxResults = nil, nil
	text, err := json.Marshal(narrow)
	if err != nil {
		return paging.Question{}, fmt.Errorf("identify search: %w", err)
	}
	return question("SearchAuditLog", string(text)), nil
}

func searchFilter(in *arcaapi.SearchAuditLogInput) trail.Filter {
	f := trail.Filter{
		Account: text(in.Account), Region: text(in.Region), EventID: text(in.EventId), EventName: text(in.EventName),
		ReadOnly: in.ReadOnly, UserName: text(in.UserName), ResourceType: text(in.ResourceType), EventSource: text(in.EventSource),
		AccessKeyID: text(in.AccessKeyId), ErrorCode: text(in.ErrorCode), SourceIP: text(in.SourceIpAddress),
		Principal: text(in.Principal), Resource: text(in.Resource), Text: text(in.Text), Failed: said(in.Failed),
	}
	if in.StartTime != nil {
		f.From = *in.StartTime
	}
	if in.EndTime != nil {
		f.To = in.EndTime.Add(-time.Nanosecond) // the filter takes its end in
	}
	return f
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func said(b *bool) bool { return b != nil && *b }
