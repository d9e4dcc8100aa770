package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/seed-f0abd057/rotate/config"
)

// questions asks somebody at a terminal.
type questions struct {
	in  *bufio.Reader
	fd  int
	out io.Writer
}

// newQuestions returns nil if standard input is no terminal.
func (a *app) newQuestions() *questions {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &questions{in: bufio.NewReader(f), fd: int(f.Fd()), out: a.stderr}
}

// ask asks until the answer is good. An empty answer is the preset.
func (q *questions) ask(question, preset string, good func(string) error) (string, error) {
	for {
		if preset != "" {
			fmt.Fprintf(q.out, "%s [%s]: ", question, preset)
		} else {
			fmt.Fprintf(q.out, "%s: ", question)
		}
		line, err := q.in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		text := strings.TrimSpace(line)
		if text == "" {
			text = preset
		}
		if err := good(text); err != nil {
			fmt.Fprintf(q.out, "  %v\n", err)
			continue
		}
		return text, nil
	}
}

// secret asks for what the terminal does not show.
func (q *questions) secret(question string, good func(string) error) (string, error) {
	for {
		fmt.Fprintf(q.out, "%s (not shown): ", question)
		text, err := term.ReadPassword(q.fd)
		fmt.Fprintln(q.out)
		if err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		if err := good(string(text)); err != nil {
			fmt.Fprintf(q.out, "  %v\n", err)
			continue
		}
		return string(text), nil
	}
}

// ask asks what no flag has answered.
func (s *setupAnswers) ask(q *questions, path string, base *config.Config) error {
	var err error
	if s.tenantID == "" {
		if s.tenantID, err = q.ask("Tenant ID (Entra admin centre, Overview)", "", tenantIDProblem); err != nil {
			return err
		}
		if s.tenant == "" {
			if s.tenant, err = q.ask("Your own short name for it", "contoso", tenantNameProblem); err != nil {
				return err
			}
		}
	}
	if s.recovery == "" && s.recoveryKeyFile == "" && !s.noRecovery {
		if err := s.askRecovery(q, path, base); err != nil {
			return err
		}
	}
	if len(s.mailTo) == 0 && s.webhookURLFile == "" && !s.noAlerts {
		return s.askAlerts(q)
	}
	return nil
}

func (s *setupAnswers) askRecovery(q *questions, path string, base *config.Config) error {
	fmt.Fprintln(q.out, `
If this host is lost, a recovery key opens the backups. Paste the public half (age1…) of
an age key that you have, give a file for a new key, type show to see a new key once on
this terminal, or none.`)
	answer, err := q.ask("Recovery key", "show", func(text string) error {
		switch {
		case text == "show" || text == "none":
			return nil
		case strings.HasPrefix(text, "age1"), strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-"):
			return configProblem(fmt.Sprintf("store: {path: a, identity_file: b, recovery: %s}", yamlText(text)))
		}
		one := setupAnswers{recoveryKeyFile: text}
		if err := one.outside(base, path); err != nil {
			return err
		}
		return mustBeFree(one.recoveryKeyFile)
	})
	if err != nil {
		return err
	}
	switch {
	case answer == "show":
	case answer == "none":
		s.noRecovery = true
	case strings.HasPrefix(answer, "age1"):
		s.recovery = answer
	default:
		s.recoveryKeyFile = answer
		return s.outside(base, path)
	}
	return nil
}

func (s *setupAnswers) askAlerts(q *questions) error {
	fmt.Fprintln(q.out, "\nWhere do alerts go, such as a rotation that failed? Mail, a webhook, or none for now.")
	kind, err := q.ask("mail, webhook or none", "mail", oneOfWords("mail", "webhook", "none"))
	if err != nil {
		return err
	}
	switch kind {
	case "none":
		s.noAlerts = true
		return nil
	case "webhook":
		s.typedWebURL, err = q.secret("URL of the webhook", func(text string) error {
			if problem := config.WebURL(strings.TrimSpace(text)); problem != "" {
				return errors.New(problem)
			}
			return nil
		})
		return err
	}
	to, err := q.ask("Send alerts to (addresses, separated by commas)", "", func(text string) error {
		for _, address := range splitList(text) {
			if err := addressProblem(address); err != nil {
				return err
			}
		}
		if len(splitList(text)) == 0 {
			return errors.New("give at least one address")
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mailTo = splitList(to)
	if s.mailServer, err = q.ask("Mail server (HOST or HOST:PORT)", "", func(text string) error {
		if text == "" {
			return errors.New("give its name, such as mail.contoso.example")
		}
		return nil
	}); err != nil {
		return err
	}
	if s.mailTLS, err = q.ask("Encryption: starttls, implicit, or none (only to a server on this host)", "starttls", oneOfWords("starttls", "implicit", "none")); err != nil {
		return err
	}
	if s.mailFrom, err = q.ask("Sender", s.sender(), addressProblem); err != nil {
		return err
	}
	if s.mailUser, err = q.ask("User name at the mail server (empty: none)", "", func(string) error { return nil }); err != nil || s.mailUser == "" {
		return err
	}
	s.typedMailPassword, err = q.secret("Its password", func(text string) error {
		if text == "" {
			return errors.New("it may not be empty")
		}
		return nil
	})
	return err
}

func oneOfWords(words ...string) func(string) error {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		return fmt.Errorf("type one of: %s", strings.Join(words, ", "))
	}
}

func splitList(text string) []string {
	var all []string
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return all
}

func addressProblem(text string) error {
	if a, err := mail.ParseAddress(text); err != nil || a.Address != text {
		return fmt.Errorf("%q is not an address such as ops@contoso.example", text)
	}
	return nil
}

func tenantIDProblem(text string) error {
	return configProblem(fmt.Sprintf("tenants: [{name: contoso, id: %s}]", yamlText(text)))
}

func tenantNameProblem(text string) error {
	return configProblem(fmt.Sprintf("tenants: [{name: %s, id: 11111111-2222-3333-4444-555555555555}]", yamlText(text)))
}

// configProblem is what the configuration says to one setting.
func configProblem(text string) error {
	_, err := config.Load(strings.NewReader(text))
	if problem, ok := errors.AsType[*config.Error](err); ok {
		return errors.New(problem.Message)
	}
	return err
}
