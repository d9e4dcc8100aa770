package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newTenantCommand(a *app) *cobra.Command {
	rebind := &cobra.Command{
		Use:   "rebind TENANT",
		Short: "Accept other login and Graph hosts for a tenant",
		Long: `A tenant's hosts are stored at its first use, and others are refused, so that no
test address ever meets real keys. This accepts the hosts of the configuration.`,
		Args: arguments(1, 1, "the name of a tenant"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, conn *connection) error {
				if err := conn.RebindTenant(ctx, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "Tenant %s is bound to the hosts of the configuration.\n", args[0])
				return nil
			})
		},
	}
	return group("tenant", "Verify tenants, and show or change what is stored about them", newTenantVerifyCommand(a), newTenantFactsCommand(a), rebind)
}
