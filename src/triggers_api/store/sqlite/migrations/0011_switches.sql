-- What operators turned, for the service, for an organization and for a subscription.

CREATE TABLE switches (
    organization_id INTEGER NOT NULL,      -- 0: of the whole service
    subscription_id INTEGER NOT NULL,      -- 0: of all of them
    body            BLOB    NOT NULL,      -- JSON of model.controls.Switches
    version         INTEGER NOT NULL,      -- of the settings half, at the last change
    PRIMARY KEY (organization_id, subscription_id)
) STRICT;
CREATE INDEX switches_version ON switches (version);
