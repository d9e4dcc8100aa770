package verify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Words that facts have for values.
const (
	Accepted  = "accepted"
	Refused   = "refused"
	Forbidden = "forbidden"
	// Unknown means that it could not be found out.
	Unknown = "unknown"
)

// Verdict is how a fact compares with what the program assumes.
type Verdict string

// Verdicts, best first.
const (
	// AsAssumed is what the program was built for.
	AsAssumed Verdict = "as_assumed"
	// NotKnown says nothing.
	NotKnown Verdict = "unknown"
	// Differs is something else that the program copes with.
	Differs Verdict = "differs"
	// Fails is something that this version cannot cope with.
	Fails Verdict = "fails"
)

// Assumption is what the program takes for granted about one fact.
type Assumption struct {
	Name string
	// What is asked, in words.
	What string
	// Want are the values as assumed, Copes those that differ and do no harm.
	Want, Copes []string
	// Within is the longest time as assumed, UpTo the longest that does no harm; zero:
	// the fact is no length of time.
	Within, UpTo time.Duration
	// Then says what a difference means for the user.
	Then string
	// Open tells that nobody is known to have seen it: any value is fine.
	Open bool
}

// Assumptions lists all facts, in the order of the steps.
func Assumptions() []Assumption {
	either := []string{Accepted, Refused, Forbidden}
	open := func(name, what string) Assumption {
		return Assumption{Name: name, What: what, Open: true, Copes: either, Then: "nothing depends on it"}
	}
	proof := func(name, what string) Assumption {
		return Assumption{Name: name, What: what, Open: true, Copes: either, Then: "used where the usual proof is refused"}
	}
	span := func(name, what string, within, upTo time.Duration, then string) Assumption {
		return Assumption{Name: name, What: what, Within: within, UpTo: upTo, Then: then}
	}
	const minute, hour = time.Minute, time.Hour
	return []Assumption{
		span("clock_difference", "difference of the clocks", minute, 5*minute, "set this host's clock"),
		{Name: "tls_signed_by", What: "who signed the login host's certificate", Want: []string{"microsoft"}, Copes: []string{"other"}, Then: "a proxy opens TLS, or the hosts are not Microsoft's"},
		{Name: "issuer", What: "issuer in the metadata", Want: []string{"login_host"}, Copes: []string{"other"}, Then: "the login host names another issuer; sign-ins may be refused"},
		{Name: "instance_discovery", What: "instance discovery", Want: []string{Accepted}, Copes: either, Then: "not used"},
		{Name: "login_host_alias", What: "the login host among the aliases", Want: []string{"listed"}, Copes: []string{"not_listed"}, Then: "nothing depends on it"},
		{Name: "create", What: "create an app by its unique name", Want: []string{Accepted}, Copes: either, Then: "app create uses POST instead"},
		{Name: "create_properties", What: "properties that come with a new app", Want: []string{"all"}, Copes: []string{"some"}, Then: "what is missing is read again"},
		{Name: "create_headers", What: "the request ID in the headers", Want: []string{"request_id"}, Copes: []string{"no_request_id"}, Then: "Microsoft's support has less to go by"},
		{Name: "create_again", What: "the same once more", Want: []string{"204"}, Copes: []string{"200", "201", Refused, Forbidden}, Then: "app create looks for the app before it sends again"},
		span("visible_by_id", "until a read by object ID shows the app", 2*minute, 30*minute, "app create takes longer"),
		span("visible_by_id_steady", "until five reads in a row do", 3*minute, 30*minute, "app create takes longer"),
		span("visible_by_app_id", "until a read by client ID shows the app", 2*minute, 30*minute, "app create takes longer"),
		span("visible_by_app_id_steady", "until five reads in a row do", 3*minute, 30*minute, "app create takes longer"),
		span("visible_by_filter", "until a filtered list shows the app", 5*minute, 30*minute, "app create takes longer"),
		span("visible_by_filter_steady", "until five reads in a row do", 6*minute, 30*minute, "app create takes longer"),
		{Name: "visible_misses_after_hit", What: "reads that missed the app after one showed it", Want: []string{"#"}, Then: "reads are repeated"},
		span("service_principal_after", "until the service principal can be created", 5*minute, 30*minute, "app create takes longer"),
		{Name: "service_principal_refusal", What: "how it is refused until then", Want: []string{"400", "403", "404"}, Copes: []string{"*"}, Then: "it is tried again"},
		{Name: "first_certificate", What: "the first certificate by PATCH", Want: []string{Accepted}, Then: "apps without a certificate cannot get one"},
		{Name: "patch_key_id", What: "a key ID of ours in PATCH", Want: []string{"kept"}, Copes: []string{"replaced", Refused}, Then: "the key ID is read from the list"},
		span("listed_after", "until the list shows a new entry", 2*minute, 30*minute, "an upload whose answer was lost takes longer to be found"),
		{Name: "display_name_100", What: "a display name of 100 characters", Want: []string{"cut", Refused, "kept"}, Then: "names are 90 characters at most"},
		{Name: "dates", What: "form of dates in lists", Want: []string{"whole_seconds"}, Copes: []string{"fractions"}, Then: "entries are sent back as they came"},
		{Name: "custom_key_identifier", What: "form of customKeyIdentifier", Want: []string{"hex"}, Copes: []string{"base64", "null", "other"}, Then: "entries are sent back as they came"},
		{Name: "key_in_get", What: "the certificate in a plain read", Want: []string{"null"}, Copes: []string{"present"}, Then: "nothing depends on it"},
		{Name: "key_in_select", What: "the certificate in a read with $select", Want: []string{"present"}, Copes: []string{"null"}, Then: "entries are told apart by key ID only"},
		{Name: "key_in_list", What: "the certificate in a list with $select", Want: []string{"null", "present"}, Then: "the inventory reads each app"},
		{Name: "end_left_out", What: "an entry without an end", Want: []string{"not_after", Refused, "other"}, Then: "an end is always sent"},
		{Name: "if_match", What: "a precondition that does not hold", Want: []string{"ignored", Refused}, Copes: []string{"412"}, Open: true, Then: "no precondition is sent"},
		span("sign_in_after", "until the first sign-in (Graph)", 10*minute, 6*hour, "prove.within is lengthened to three times that"),
		{Name: "sign_in_other_after", What: "until the first sign-in (second audience)", Within: 30 * minute, UpTo: 6 * hour, Copes: []string{Refused}, Then: "set prove.scopes of apps that use it"},
		{Name: "sign_in_refusal", What: "how a sign-in is refused until then", Want: []string{"AADSTS700027", "AADSTS700016"}, Copes: []string{"*"}, Then: "it is tried again"},
		{Name: "sign_in_misses_of_30", What: "sign-ins refused after one was accepted", Want: []string{"#"}, Then: "several spaced sign-ins are asked for"},
		{Name: "assertion_rs256_x5t", What: "assertion with RS256 and x5t", Want: []string{Accepted}, Copes: either, Then: "consumers with older libraries cannot sign in"},
		{Name: "assertion_ps256_x5t_s256", What: "assertion with PS256 and x5t#S256", Want: []string{Accepted}, Copes: either, Then: "consumers with newer libraries cannot sign in"},
		{Name: "assertion_audience_v2", What: "assertion for …/v2.0", Want: []string{Accepted}, Copes: either, Then: "some libraries cannot sign in"},
		{Name: "add_key", What: "addKey without a key ID, with the usual proof", Want: []string{Accepted}, Then: "no rotation can add a certificate"},
		{Name: "proof_usual", What: "proof with kid and x5t", Want: []string{Accepted}, Copes: []string{Refused}, Then: "rotations sign proofs in a form that was accepted"},
		{Name: "add_key_answer", What: "the key ID in addKey's answer", Want: []string{"key_id"}, Copes: []string{"no_key_id"}, Then: "the key ID is read from the list"},
		span("proof_accepted_after_patch", "until a key added by PATCH may sign a proof", hour, 6*hour, "removals and uploads wait"),
		open("add_key_id_null", "addKey with keyId null"),
		{Name: "add_key_id_chosen", What: "addKey with a key ID of ours", Want: []string{Refused}, Copes: []string{"kept", "replaced", Forbidden}, Then: "reported only: rotate never sends one"},
		open("add_custom_key_identifier", "addKey with customKeyIdentifier"),
		open("add_same_certificate", "the same certificate twice"),
		proof("proof_x5t", "proof with x5t only"), proof("proof_kid", "proof with kid only"), proof("proof_x5t_s256", "proof with x5t#S256"),
		proof("proof_ps256", "proof with PS256"), open("proof_issuer_client_id", "proof issued by the client ID"),
		open("proof_60_minutes", "proof for 60 minutes"), open("proof_audience_graph", "proof for Microsoft Graph's audience"),
		{Name: "end_after_certificate", What: "an end one second after the certificate's", Want: []string{Refused}, Copes: either, Then: "not sent"},
		{Name: "end_equal", What: "an end equal to the certificate's", Want: []string{Accepted}, Then: "no rotation can add a certificate"},
		open("end_before_certificate", "an end one second before it"), open("end_in_60_seconds", "an end in 60 seconds"), open("start_in_10_minutes", "a start in 10 minutes"),
		{Name: "proof_accepted_after", What: "until a key added by addKey may sign a proof", Within: hour, UpTo: 6 * hour, Then: "a refused proof counts as lag for twice that"},
		{Name: "remove_unknown", What: "removeKey for a key ID that is not there", Want: []string{"400"}, Copes: []string{"404", "204", "200"}, Then: "that answer proves nothing either way"},
		{Name: "remove_itself", What: "a key that signs its own removal", Want: []string{Refused, Accepted}, Copes: either, Open: true, Then: "where no other is left, a certificate signs its own removal; where refused, you are asked to remove it"},
		{Name: "remove_twice", What: "the same removal again", Want: []string{"400"}, Copes: []string{"404", "204", "200"}, Then: "that answer proves nothing either way"},
		{Name: "token_after_removal", What: "a token that was got before", Want: []string{"alive"}, Copes: []string{"dead"}, Then: "consumers lose access at once when a key is removed"},
		span("removal_refused_after", "until a removed key gets no token", 10*minute, 6*hour, "removals take longer to be confirmed"),
		{Name: "removal_listed_after", What: "until the list does not show a removed key", Within: 5 * minute, UpTo: 6 * hour, Copes: []string{Forbidden}, Then: "removals take longer to be confirmed"},
		{Name: "removal_reappeared", What: "lists that showed a removed key again", Want: []string{"#"}, Then: "five reads in a row are asked for"},
		{Name: "remove_denied_though_listed", What: "\"No credentials found\" for a key that was listed", Want: []string{"#"}, Then: "the removal is sent again while it is listed"},
		{Name: "remove_pairs", What: "pairs of addKey and removeKey that were tried", Want: []string{"20"}, Copes: []string{"*"}, Open: true, Then: "a ceiling was met"},
		{Name: "add_ends_in_3_minutes", What: "a certificate that ends in 3 minutes", Want: []string{Accepted, Refused}, Then: "nothing depends on it"},
		{Name: "expired_sign_in", What: "a sign-in with a certificate that has ended", Want: []string{"700027_expired"}, Copes: []string{"700027", "other"}, Then: "an ended certificate is told by its date"},
		{Name: "expired_signs_add_key", What: "a proof by a certificate that has ended", Want: []string{Refused}, Copes: either, Then: "never used"},
		{Name: "expired_resent", What: "a list with an ended entry, as it came", Want: []string{Accepted}, Copes: []string{Refused}, Then: "expired entries are left out of a replaced list after one refusal"},
		open("expired_resent_with_key", "an ended entry with its key and without key ID"), open("expired_left_out", "a list without the ended entry"),
		{Name: "two_lists_at_once", What: "two replaced lists at once", Want: []string{"409", "one_lost", "merged"}, Then: "a list is replaced only where no key of ours is valid"},
		{Name: "default_policy", What: "the tenant's policy for certificates", Want: []string{"no_limit", "lifetime", Forbidden}, Copes: []string{"trusted_ca"}, Then: "certificates of your own CA are needed"},
		{Name: "app_policies", What: "the app's policy for certificates", Want: []string{"no_limit", "lifetime", Forbidden}, Copes: []string{"trusted_ca"}, Then: "certificates of your own CA are needed"},
		{Name: "ten_years", What: "a certificate of ten years", Want: []string{Accepted}, Copes: either, Then: "set validity to what the policy allows; these words are recognised"},
		{Name: "self_signed", What: "self-signed certificates", Want: []string{Accepted}, Then: "rotate makes self-signed certificates; this tenant wants those of a CA"},
		{Name: "log", What: "read the sign-in log", Want: []string{Accepted, Forbidden}, Copes: either, Then: "evidence of use is not available"},
		span("log_shows_after", "until the log shows a sign-in", 30*minute, 6*hour, "evidence of use is older"),
		{Name: "log_key_id", What: "the key ID in the log", Want: []string{"filled"}, Copes: []string{"empty", "other"}, Then: "evidence of use reads the whole log and compares thumbprints"},
		{Name: "log_thumbprint", What: "the thumbprint in the log", Want: []string{"filled"}, Copes: []string{"empty", "other"}, Then: "where the key ID is missing, too, there is no evidence of use"},
		{Name: "log_correlation_id", What: "the correlation ID in the log", Want: []string{"ours"}, Copes: []string{"empty", "other"}, Open: true, Then: "rotate's own sign-ins are told by request ID"},
		{Name: "log_token_id", What: "the token's ID in the log", Want: []string{"same"}, Copes: []string{"empty", "other"}, Open: true, Then: "nothing depends on it"},
		{Name: "log_filter_by_key_id", What: "a filter by key ID", Want: []string{Accepted}, Copes: []string{Refused, "empty"}, Then: "evidence of use reads whole pages"},
		{Name: "cleaned_up", What: "what became of the throw-away app", Want: []string{"purged", "deleted"}, Then: "see above"},
	}
}

// Judge compares a value with what is assumed; the assumption is zero for a fact that
// this version does not know.
func Judge(name, value string) (Verdict, Assumption) {
	all := Assumptions()
	i := slices.IndexFunc(all, func(a Assumption) bool { return a.Name == name })
	if i < 0 {
		return NotKnown, Assumption{Name: name}
	}
	a := all[i]
	number := strings.TrimSuffix(value, "s")
	n, err := strconv.Atoi(number)
	switch {
	case value == Unknown:
		return NotKnown, a
	case value == Forbidden && !slices.Contains(a.Want, value) && !slices.Contains(a.Copes, value):
		return NotKnown, a // who asked may not
	case slices.Contains(a.Want, value), a.Open && slices.Contains(a.Copes, value):
		return AsAssumed, a
	case err == nil && slices.Contains(a.Want, "#"):
		if n > 0 {
			return Differs, a
		}
		return AsAssumed, a
	case err == nil && a.Within > 0 && number != value:
		d := time.Duration(n) * time.Second
		switch {
		case d <= a.Within:
			return AsAssumed, a
		case d <= a.UpTo:
			return Differs, a
		}
		return Fails, a
	case slices.Contains(a.Copes, value), slices.Contains(a.Copes, "*"):
		return Differs, a
	}
	return Fails, a
}

// Expected says what is assumed, in words.
func (a Assumption) Expected() string {
	switch {
	case a.Open:
		return "open"
	case a.Within > 0:
		if a.Within%time.Hour == 0 {
			return fmt.Sprintf("≤ %d h", a.Within/time.Hour)
		}
		return fmt.Sprintf("≤ %d min", a.Within/time.Minute)
	case slices.Contains(a.Want, "#"):
		return "0"
	}
	return strings.Join(a.Want, " or ")
}
