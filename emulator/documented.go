package emulator

import (
	"strings"

	"github.com/seed-f0abd057/rotate/emulator/odata"
)

// What Graph documents for the properties of objects of the directory. Each string
// stands for eq (and in), startsWith, ge and le, and eq null, in this order:
//
//	d  works by default
//	a  needs the advanced query parameters
//	n  is refused
//	-  is not documented, and the emulator does not know it
//
// ne and not go with eq and need the advanced parameters.
//
// https://learn.microsoft.com/graph/aad-advanced-queries, "Support for filter by
// properties"; id is not in the table, but the pages of the list methods use it.
func filterable(typ string) map[string]string {
	switch typ {
	case kindApplication:
		return map[string]string{
			"id":                        "d---",
			"appId":                     "d--n",
			"createdDateTime":           "d-da",
			"createdOnBehalfOf/id":      "d---",
			"description":               "aa-a",
			"disabledByMicrosoftStatus": "d--n",
			"displayName":               "dd-a",
			"federatedIdentityCredentials/any/issuer":  "aa-n",
			"federatedIdentityCredentials/any/name":    "aa-n",
			"federatedIdentityCredentials/any/subject": "aa-n",
			"identifierUris/any":                       "dd--",
			"info/logoUrl":                             "nn-a",
			"info/termsOfServiceUrl":                   "an-n",
			"notes":                                    "aa-a",
			"publicClient/redirectUris/any":            "aa--",
			"publisherDomain":                          "dd-n",
			"requiredResourceAccess/any/resourceAppId": "a--n",
			"serviceManagementReference":               "aa-a",
			"signInAudience":                           "d--n",
			"spa/redirectUris/any":                     "aa--",
			"tags/any":                                 "dd--",
			"uniqueName":                               "dd-n",
			"verifiedPublisher/displayName":            "an-a",
			"web/homePageUrl":                          "an-a",
			"web/redirectUris/any":                     "aa--",
		}
	case kindServicePrincipal:
		return map[string]string{
			"id":                            "d---",
			"accountEnabled":                "d--n",
			"alternativeNames/any":          "dd--",
			"appId":                         "d--n",
			"appOwnerOrganizationId":        "a--n",
			"appRoleAssignmentRequired":     "a--n",
			"applicationTemplateId":         "d--n",
			"description":                   "aa-a",
			"displayName":                   "dd-a",
			"homepage":                      "aa-a",
			"info/logoUrl":                  "nn-a",
			"info/termsOfServiceUrl":        "an-n",
			"notes":                         "aa-a",
			"preferredSingleSignOnMode":     "d--n",
			"servicePrincipalNames/any":     "dd--",
			"servicePrincipalType":          "d--n",
			"tags/any":                      "dd--",
			"verifiedPublisher/displayName": "an-a",
		}
	case "user":
		return map[string]string{
			"id": "d---", "displayName": "dd-a", "mail": "dd-a", "userPrincipalName": "dd--",
		}
	case "appRoleAssignment":
		// https://learn.microsoft.com/graph/api/resources/approleassignment
		return map[string]string{"principalDisplayName": "dd--", "resourceId": "d---"}
	case federated:
		// https://learn.microsoft.com/graph/api/resources/federatedidentitycredential
		return map[string]string{"name": "d---", "subject": "d---"}
	case permissionGrant:
		// https://learn.microsoft.com/graph/api/resources/oauth2permissiongrant
		return map[string]string{"clientId": "d---", "consentType": "d---", "principalId": "d---", "resourceId": "d---"}
	}
	return nil
}

// countable returns the numbers with which a $count in a filter can be compared. All
// need the advanced parameters.
func countable(typ, path string) string {
	switch typ + " " + path {
	case kindApplication + " owners/$count":
		return "01"
	case kindApplication + " federatedIdentityCredentials/$count", kindApplication + " extensionProperties/$count":
		return "0"
	case kindServicePrincipal + " owners/$count", kindServicePrincipal + " ownedObjects/$count":
		return "1"
	}
	return ""
}

// sortable says whether a property can be sorted by, and whether that works by
// default.
//
// https://learn.microsoft.com/graph/aad-advanced-queries, "Support for sorting by
// properties"
func sortable(typ, property string) (documented, byDefault bool) {
	switch typ + " " + property {
	case kindApplication + " createdDateTime", kindApplication + " deletedDateTime", kindApplication + " displayName",
		kindServicePrincipal + " deletedDateTime", kindServicePrincipal + " displayName":
		return true, false
	case "user displayName", "user userPrincipalName":
		return true, true
	}
	return false, false
}

// judge compares one clause of a filter with what is documented. unknown names what
// is not.
func judge(typ string, c odata.Clause, advanced bool) (unknown string, refusal *graphError) {
	level := byte('-')
	if strings.HasSuffix(c.Path, "/$count") {
		if c.Number != "" && strings.Contains(countable(typ, c.Path), c.Number) && (c.Operator == "eq" || c.Operator == "ne") {
			level = 'a'
		}
	} else {
		level = levelOf(filterable(typ)[c.Path], c)
		if c.Operator == "endswith" && typ == "user" && (c.Path == "mail" || c.Path == "userPrincipalName") {
			level = 'a'
		}
	}
	negated := c.Negated || c.Operator == "ne"
	switch {
	case level == '-':
		return c.Operator + " on the property " + c.Path + " in $filter", nil
	case level == 'n', level == 'a' && !advanced && !negated:
		return "", unsupported("Unsupported or invalid query filter clause specified for property '" + firstOf(c.Path) + "' of resource '" + resourceName(typ) + "'.")
	case negated && !advanced:
		operator := "Not"
		if c.Operator == "ne" {
			operator = "NotEqualsMatch"
		}
		return "", needsAdvanced(operator)
	}
	return "", nil
}

// levelOf returns the letter of a clause in the tables above.
func levelOf(row string, c odata.Clause) byte {
	if row == "" {
		return '-'
	}
	switch {
	case c.Null:
		return row[3]
	case c.Operator == "startswith":
		return row[1]
	case c.Operator == "ge", c.Operator == "le":
		return row[2]
	case c.Operator == "endswith":
		return '-'
	}
	return row[0]
}

// unsupported is the error of a query that Graph refuses.
//
// https://learn.microsoft.com/graph/aad-advanced-queries, "Error handling"
func unsupported(message string) *graphError {
	return &graphError{status: 400, code: "Request_UnsupportedQuery", message: message}
}

func needsAdvanced(operator string) *graphError {
	return unsupported("Operator '" + operator + "' is not supported because the required parameters might be missing. Try adding $count=true query parameter and ConsistencyLevel:eventual header. Refer to https://aka.ms/graph-docs/advanced-queries for more information")
}

// resourceName is a type's name in messages.
func resourceName(typ string) string { return strings.ToUpper(typ[:1]) + typ[1:] }

func firstOf(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}
