-- What operators turned, for the service, for an organization and for a subscription.

CREATE TABLE switches (
    organization_id uuid   NOT NULL,       -- zeros: of the whole service
    subscription_id uuid   NOT NULL,       -- zeros: of all of them
    body            bytea  NOT NULL,       -- JSON of model.controls.Switches
    version         bigint NOT NULL,       -- of the settings half, at the last change
    PRIMARY KEY (organization_id, subscription_id)
);
CREATE INDEX switches_version ON switches (version);
