package app

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"arca/internal/compliance"
	"arca/internal/event"
	"arca/internal/webhook"
)

// WebhookConfig is one receiver of events and alarms.
type WebhookConfig struct {
	// Name by which events and alarms refer to it [webhook.name]. Required.
	Name string `toml:"name"`
	// URL that events are posted to: https, or http to this machine itself
	// [webhook.url]. Required.
	URL string `toml:"url"`
	// SecretFiles hold the secrets that sign what is sent, whsec_ and base64, one each;
	// two while a secret is replaced [webhook.secret_files]. Required.
	SecretFiles []string `toml:"secret_files"`
	// CAFile holds the authorities that vouch for the URL, PEM [webhook.ca_file].
	// Default: those of the system.
	CAFile string `toml:"ca_file"`
	// TimeoutSeconds of one attempt [webhook.timeout_seconds]. Default: 15.
	TimeoutSeconds int `toml:"timeout_seconds"`
	// Concurrency is how many events are on their way at once [webhook.concurrency].
	// Default: 4.
	Concurrency int `toml:"concurrency"`
	// FromStart sends also the events that were there before [webhook.from_start].
	FromStart bool `toml:"from_start"`
}

// EventConfig sends the events that match a pattern to webhooks.
type EventConfig struct {
	// Name of the rule [event.name]. Required.
	Name string `toml:"name"`
	// Pattern is an event pattern of EventBridge, JSON [event.pattern]. Required.
	Pattern string `toml:"pattern"`
	// Webhooks that get the events [event.webhooks]. Required.
	Webhooks []string `toml:"webhooks"`
}

// AlarmConfig is an alarm: a ready-made one, what of it is set here changed, or one of
// its own.
type AlarmConfig struct {
	// Name of the alarm [alarm.name]. Default: that of the ready-made one.
	Name string `toml:"name"`
	// Ready is the name of a ready-made alarm [alarm.ready].
	Ready string `toml:"ready"`
	// Description is for those who are told [alarm.description].
	Description string `toml:"description"`
	// Pattern of the events that count, an event pattern of EventBridge
	// [alarm.pattern].
	Pattern string `toml:"pattern"`
	// Count of matches within Minutes raises the alarm [alarm.count, alarm.minutes].
	Count   int `toml:"count"`
	Minutes int `toml:"minutes"`
	// GroupBy is the path of a member, such as detail.userIdentity.arn: events are
	// counted for each of its values by itself [alarm.group_by]. Default: all together.
	GroupBy string `toml:"group_by"`
	// Clear is the pattern of events that end the alarm [alarm.clear]. Default: it ends
	// when nothing has matched for Minutes.
	Clear string `toml:"clear"`
	// RepeatMinutes tells again while the alarm lasts, at most this often
	// [alarm.repeat_minutes]. Default: once.
	RepeatMinutes int `toml:"repeat_minutes"`
	// Webhooks that are told [alarm.webhooks]. Required.
	Webhooks []string `toml:"webhooks"`
}

func (c *AlarmConfig) alarm() (event.Alarm, error) {
	var a event.Alarm
	if c.Ready != "" {
		var ok bool
		if a, ok = event.Ready(c.Ready); !ok {
			return a, fmt.Errorf("alarm.ready: %q is not ready-made; there are %s", c.Ready, strings.Join(event.ReadyNames(), ", "))
		}
	}
	a.Name = cmp.Or(c.Name, a.Name)
	a.Description = cmp.Or(c.Description, a.Description)
	a.Pattern = cmp.Or(c.Pattern, a.Pattern)
	a.Count = cmp.Or(c.Count, a.Count)
	a.Period = cmp.Or(time.Duration(c.Minutes)*time.Minute, a.Period)
	a.GroupBy = cmp.Or(c.GroupBy, a.GroupBy)
	a.Clear = cmp.Or(c.Clear, a.Clear)
	a.Repeat = cmp.Or(time.Duration(c.RepeatMinutes)*time.Minute, a.Repeat)
	a.Targets = c.Webhooks
	return a, nil
}

func (c *WebhookConfig) target() (event.Target, error) {
	t := event.Target{
		Name: c.Name, URL: c.URL, Timeout: time.Duration(c.TimeoutSeconds) * time.Second,
		Concurrency: c.Concurrency, FromStart: c.FromStart,
	}
	var err error
	if t.Secrets, err = webhook.ReadSecrets(c.SecretFiles); err == nil {
		t.RootCAs, err = webhook.ReadRoots(c.CAFile)
	}
	if err != nil {
		return t, fmt.Errorf("webhook %q: %w", c.Name, err)
	}
	return t, nil
}

const (
	// defaultEventRegion is where events of the server itself belong when every region is
	// served.
	defaultEventRegion = "us-east-1"
	// auditLag is how far copies and sinks may be behind before it counts as an event.
	auditLag = 5 * time.Minute
	// certificateWarning is how long before its end a certificate does.
	certificateWarning = 14 * 24 * time.Hour
)

// openEvents checks what the configuration says about webhooks, events and alarms.
func (a *App) openEvents(ctx context.Context) (*event.Service, error) {
	account, _, err := a.iam.FirstAccount(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for the first account: %w", err)
	}
	region := defaultEventRegion
	if len(a.cfg.Regions) > 0 {
		region = a.cfg.Regions[0]
	}
	a.bus = event.NewBus(event.BusConfig{Account: account, Region: region})
	cfg := event.Config{
		Log: a.audit, Bus: a.bus, Dir: a.cfg.deliveryDir(), Logger: a.log,
		Watch: []event.Watch{
			{Raised: "Disk Space Low", Cleared: "Disk Space Recovered", Check: a.diskLow},
			{Raised: "Audit Lag", Cleared: "Audit Lag Recovered", Check: a.auditLags},
			{Raised: "Certificate Expiring", Cleared: "Certificate Renewed", Check: a.certificateExpires},
		},
	}
	if cfg.Targets, cfg.Rules, cfg.Alarms, err = a.cfg.events(); err != nil {
		return nil, err
	}
	return event.Open(cfg)
}

// events reads what the configuration says about webhooks, events and alarms, and the
// files that it names there.
func (c *Config) events() (targets []event.Target, rules []event.Rule, alarms []event.Alarm, err error) {
	for i := range c.Webhooks {
		t, err := c.Webhooks[i].target()
		if err != nil {
			return nil, nil, nil, err
		}
		targets = append(targets, t)
	}
	for _, e := range c.Events {
		rules = append(rules, event.Rule{Name: e.Name, Pattern: e.Pattern, Targets: e.Webhooks})
	}
	for i := range c.Alarms {
		a, err := c.Alarms[i].alarm()
		if err != nil {
			return nil, nil, nil, err
		}
		alarms = append(alarms, a)
	}
	return targets, rules, alarms, nil
}

// checkEvents finds what openEvents would refuse.
func (c *Config) checkEvents() error {
	targets, rules, alarms, err := c.events()
	if err != nil {
		return err
	}
	return event.Check(event.Config{Targets: targets, Rules: rules, Alarms: alarms})
}

func (a *App) diskLow() (bool, any) {
	return a.space.Low(), map[string]any{"level": a.space.Level().String(), "freeBytes": a.space.Free()}
}

func (a *App) auditLags() (bool, any) {
	type lagging struct {
		Kind       string `json:"kind"`
		Name       string `json:"name"`
		LagLines   uint64 `json:"lagLines"`
		LagSeconds int64  `json:"lagSeconds"`
		Failing    string `json:"failing,omitempty"`
	}
	var all []lagging
	for _, s := range a.ship.Status() {
		if s.Lag > auditLag {
			all = append(all, lagging{s.Kind, s.Name, s.LagLines, int64(s.Lag.Seconds()), s.Failing})
		}
	}
	return len(all) > 0, map[string]any{"behind": all}
}

func (a *App) certificateExpires() (bool, any) {
	c := a.listeners.Certificate
	if c == nil {
		return false, nil
	}
	end := c.NotAfter()
	return time.Until(end) < certificateWarning, map[string]any{"notAfter": end.UTC().Format(time.RFC3339)}
}

// wantsChange reports whether anybody may want to be told that a secret came to be in a
// state under a rule. Without rules and alarms, or with others, nobody does, and every new
// secret would make several such events.
func (a *App) wantsChange(c changeKind) bool {
	wanted, known := a.wantedChanges.Load(c)
	if !known {
		wanted = a.events.Wants(c.part())
		a.wantedChanges.Store(c, wanted)
	}
	return wanted.(bool)
}

// changeKind is what a secret came to be under a rule.
type changeKind struct {
	rule  compliance.Rule
	state compliance.State
}

// part is what all events of a kind have in common.
func (c changeKind) part() []byte {
	return fmt.Appendf(nil, `{"source":%q,"detail-type":%q,"detail":{"configRuleName":%q,"newEvaluationResult":{"complianceType":%q}}}`,
		configSource, compliance.DetailType, c.rule, c.state)
}

// configSource is where AWS says that events of compliance come from.
const configSource = "aws.config"

// complianceChanged tells of a secret that changed its state under a rule. It waits for
// room on the bus: a change of many secrets at once is more than the bus holds.
func (a *App) complianceChanged(ctx context.Context, c compliance.Change) error {
	if !a.wantsChange(changeKind{c.Rule, c.New}) {
		return nil
	}
	e, err := complianceEvent(&c)
	if err != nil {
		a.log.Error("a change of compliance is told to nobody", "error", err.Error())
		return nil
	}
	return a.bus.EmitWait(ctx, e)
}

func complianceEvent(c *compliance.Change) (event.Event, error) {
	detail, err := c.Detail()
	return event.Event{
		Source: configSource, DetailType: compliance.DetailType, Account: c.Account, Region: c.Region,
		Time: c.Time, Resources: []string{c.SecretARN}, Detail: detail,
	}, err
}
